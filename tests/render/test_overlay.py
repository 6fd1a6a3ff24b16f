import cv2
import numpy as np
import pytest

from stseg.render.overlay import class_colours, draw_overlay


def test_colours_belong_to_ids_and_differ_clearly():
    colours = class_colours(np.arange(100))
    assert np.array_equal(class_colours([7]), colours[7:8])
    lab = cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e3 * np.eye(100)
    assert distance.min() > 15
    assert distance[:20, :20].min() > 35
    assert len(np.unique(class_colours(np.arange(800)), axis=0)) == 800


def test_unknown_is_grey_and_any_id_has_a_colour():
    colours = class_colours(np.array([[-1, 5000]]))
    assert colours.shape == (1, 2, 3)
    assert colours[0, 0].tolist() == [128, 128, 128]


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
