import numpy as np
import pytest
from PIL import ImageDraw

from stseg.render import area_shares, class_colours, draw_legend, draw_overlay, paint_labels


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (1, 3000), (240, 320), (700, 300)])
def test_any_size_gives_a_picture_with_a_legend(size):
    image = np.full((*size, 3), 90, dtype=np.uint8)
    labels = np.arange(size[0] * size[1]).reshape(size) % 3 - 1
    overlay = draw_overlay(image, labels, ["cat", "a name of far too many characters to be shown"])
    assert overlay.dtype == np.uint8
    assert overlay.shape[1] > size[1] and overlay.shape[0] >= size[0]
    assert overlay.size < 3e7


def test_names_of_any_script_and_hundreds_of_classes_are_drawn():
    names = ["猫", "naïve café", "дерево", ""] + [f"class {i}" for i in range(796)]
    labels = np.arange(800).reshape(20, 40)
    overlay = draw_overlay(np.zeros((20, 40, 3), dtype=np.uint8), labels, names)
    assert overlay.shape[1] < 4000


def test_legend_of_fixed_classes_keeps_the_size_of_the_picture():
    image = np.zeros((300, 300, 3), dtype=np.uint8)
    names = ["cat", "dog", "traffic light"]
    shapes = [
        draw_overlay(image, np.full((300, 300), i), names, legend_ids=[0, 1, 2, -1]).shape
        for i in range(-1, 3)
    ]
    assert len(set(shapes)) == 1


def test_image_and_label_map_of_different_size_are_refused():
    with pytest.raises(ValueError, match="one size"):
        draw_overlay(np.zeros((4, 4, 3), dtype=np.uint8), np.zeros((4, 5), dtype=int), ["a"])
    with pytest.raises(ValueError, match="uint8"):
        draw_overlay(np.zeros((4, 4, 3)), np.zeros((4, 4), dtype=int), ["a"])


def test_regions_are_outlined_on_both_axes_and_unknown_pixels_are_dimmed_and_hatched():
    image = np.full((12, 10, 3), 200, dtype=np.uint8)
    labels = np.zeros((12, 10), dtype=int)
    labels[5:, :4], labels[5:, 4:] = 1, -1
    painted = paint_labels(image, labels, ["cat", "dog"], opacity=0.5)
    plain = (100 + 0.5 * class_colours(["cat", "dog"])).round()
    assert (painted[2, 7] == plain[0]).all() and (painted[9, 1] == plain[1]).all()
    assert (painted[9, 7] == 120).all() and (painted[8, 5] == 225).all()
    dark = painted.sum(axis=2) < 0.5 * image.sum(axis=2)[0, 0]
    assert dark[4].all() and dark[5:, 3].all()
    assert not dark[[2, 8]][:, [1, 7]].any()


def test_a_legend_tells_names_shares_and_what_is_left_out(monkeypatch):
    told = []
    text = ImageDraw.ImageDraw.text

    def listen(self, xy, words, *args, **kwargs):
        told.append(words)
        return text(self, xy, words, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", listen)
    labels = np.repeat([2, 0, 1, 3, -1], [40, 30, 15, 5, 10])[None]
    draw_legend(labels, ("cat", "dog", "cow", "hen", "absent"), 300, max_rows=2)
    pairs = dict(zip(told[::2], told[1::2], strict=True))
    assert pairs == {
        "cow": "40.0 %", "cat": "30.0 %", "and 2 more": "20.0 %", "unknown": "10.0 %"
    }  # fmt: skip


def test_a_legend_may_show_other_texts_than_the_names_that_give_the_colours():
    labels = np.zeros((4, 4), dtype=int)
    plain = draw_legend(labels, ["cat"], 60)
    other = draw_legend(labels, ["cat"], 60, shown=["7 cat"])
    colour = class_colours(["cat"])[0]
    assert plain.shape != other.shape
    for legend in (plain, other):
        assert (legend == colour).all(axis=2).any()


def test_unknown_is_hatched_in_the_legend_and_without_a_photograph():
    labels = np.full((40, 40), -1)
    legend = draw_legend(labels, ["cat"], 60)
    for picture in (legend, paint_labels(None, labels, ["cat"])):
        for grey in (128, 225):
            assert (picture == grey).all(axis=2).sum() > 20


def test_a_large_picture_is_painted_in_parts_that_do_not_show():
    labels = np.add.outer(np.arange(900) // 7, np.arange(5000) // 11).astype(np.int32) % 5 - 1
    photo = np.random.default_rng(0).integers(0, 256, (900, 5000, 3)).astype(np.uint8)
    names = ("a", "b", "c", "d")
    lying = paint_labels(photo, labels, names)
    standing = paint_labels(photo.swapaxes(0, 1).copy(), labels.T.copy(), names)
    assert (standing.swapaxes(0, 1) == lying).all()
    counts = [(labels == k).mean() for k in range(4)]
    assert np.allclose(area_shares(labels, 4), counts)
