import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from stseg.structures import Segmentation

LABELS = np.array(
    [[0, 0, 0, 1, -1], [0, 1, 0, 1, -1], [0, 0, 0, 1, 0], [-1, -1, -1, 0, -1]], dtype=np.int32
)
CONFIDENCE = np.linspace(0.1, 1, 20).reshape(4, 5)
RESULT = Segmentation(LABELS, CONFIDENCE, ("cat", "dog", "cow"))
PHOTO = np.full((4, 5, 3), 60, dtype=np.uint8)


def test_a_name_gives_its_mask():
    assert np.array_equal(RESULT["dog"], LABELS == 1) and RESULT["cat"].dtype == bool
    assert not RESULT["cow"].any()
    assert np.array_equal(RESULT["unknown"], LABELS == -1)


def test_a_class_may_be_called_unknown_and_two_may_share_a_name():
    odd = Segmentation(LABELS, CONFIDENCE, ("cat", "unknown", "cat"))
    assert np.array_equal(odd["unknown"], LABELS == 1)
    both = Segmentation(np.array([[0, 1, 2]]), np.ones((1, 3)), ("cat", "unknown", "cat"))
    assert both["cat"].tolist() == [[True, False, True]]


def test_a_name_that_is_none_is_answered_with_the_nearest():
    with pytest.raises(KeyError, match="3 names, or 'unknown', got 'dogs'. The nearest is 'dog'"):
        RESULT["dogs"]


def test_an_image_must_fit():
    assert Segmentation(LABELS, CONFIDENCE, RESULT.names, PHOTO).image is PHOTO
    for image in (PHOTO[1:], PHOTO[..., :1], PHOTO.astype(np.float32)):
        with pytest.raises(ValueError, match=r"expected an image \(H, W, 3\) of uint8"):
            Segmentation(LABELS, CONFIDENCE, RESULT.names, image)


def area(ring):
    (x, y), (x2, y2) = ring.T, np.roll(ring, -1, axis=0).T
    return (x * y2 - x2 * y).sum() / 2


def test_polygons_are_rings_around_pixels_and_holes_turn_the_other_way():
    polygons = RESULT.to_polygons()
    assert list(polygons) == ["cat", "dog"]
    for name, rings in polygons.items():
        assert sum(map(area, rings)) == RESULT[name].sum()
        assert all(ring.shape[1] == 2 and ring.dtype == np.float64 for ring in rings)
    # A square with a hole, and two pixels that touch at a corner; a pixel and a line.
    assert sorted(map(area, polygons["cat"])) == [-1, 1, 1, 9]
    assert sorted(map(area, polygons["dog"])) == [1, 3]
    (line,) = (ring for ring in polygons["dog"] if area(ring) == 3)
    assert {tuple(corner) for corner in line} == {(3, 0), (4, 0), (4, 3), (3, 3)}


def test_coco_tells_every_class_present_with_its_mask():
    content = RESULT.to_coco(7, "photo.jpg")
    assert content["images"] == [{"id": 7, "file_name": "photo.jpg", "height": 4, "width": 5}]
    assert [(c["id"], c["name"]) for c in content["categories"]] == [
        (1, "cat"), (2, "dog"), (3, "cow")
    ]  # fmt: skip
    cat, dog = content["annotations"]
    for annotation, class_id in ((cat, 0), (dog, 1)):
        mask = mask_utils.decode(annotation["segmentation"])
        assert np.array_equal(mask, LABELS == class_id)
        assert annotation["area"] == mask.sum() and annotation["image_id"] == 7
        assert annotation["category_id"] == class_id + 1 and annotation["iscrowd"] == 0
    assert dog["bbox"] == [1, 0, 3, 3]


def test_detections_are_those_of_supervision():
    pytest.importorskip("supervision", reason="supervision is not installed: detections untested")
    found = RESULT.to_detections()
    assert found.class_id.tolist() == [0, 1]
    assert found.data["class_name"].tolist() == ["cat", "dog"]
    assert np.array_equal(found.mask, np.stack([LABELS == 0, LABELS == 1]))
    assert found.xyxy.tolist() == [[0, 0, 4, 3], [1, 0, 3, 2]]
    assert found.confidence[1] == pytest.approx(CONFIDENCE[LABELS == 1].mean())
    nothing = Segmentation(np.full((4, 5), -1), CONFIDENCE, ("cat",)).to_detections()
    assert len(nothing) == 0


def test_without_supervision_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="expected the package supervision.*pip install"):
        RESULT.to_detections()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.sources = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for key, value in attributes if key == "src"]

    def handle_data(self, text):
        self.texts.append(text.strip())


def test_a_notebook_gets_one_block_with_picture_and_table():
    names = ("<script>alert(1)</script>", "dog", "cow")
    page = Page(Segmentation(LABELS, CONFIDENCE, names, PHOTO)._repr_html_())
    assert page.tags[0] == "div" and page.tags.count("div") == 1 and "script" not in page.tags
    assert [source.split(",")[0] for source in page.sources] == ["data:image/jpeg;base64"]
    assert names[0] in page.texts and "dog" in page.texts and "cow" not in page.texts
    row = page.texts.index("dog")
    told = [text for text in page.texts[row:] if text][1:3]
    assert told == ["20.0 %", f"{CONFIDENCE[LABELS == 1].mean():.2f}"]
    assert "unknown" in page.texts


def test_large_pictures_are_made_smaller_for_a_notebook():
    labels = np.zeros((40, 2000), dtype=np.int32)
    text = Segmentation(labels, np.ones(labels.shape), ("cat",))._repr_html_()
    assert 'width="900" height="18"' in text


def test_it_shows_itself_in_a_notebook_and_else_in_a_window(monkeypatch):
    opened, displayed = [], []
    monkeypatch.setattr(Image.Image, "show", lambda picture: opened.append(picture.size))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: object()))
    RESULT.show()  # a terminal has no kernel
    assert opened == [(5, 4)]
    shell = SimpleNamespace(kernel=1)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    display = SimpleNamespace(display=displayed.append)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    RESULT.show()
    assert displayed == [RESULT] and len(opened) == 1
