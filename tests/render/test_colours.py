import random

import cv2
import numpy as np

from stseg.render.colours import class_colours, hex_colour, label_colours, rgb_to_lab
from stseg.structures import Vocabulary


def test_lab_is_that_of_opencv():
    rgb = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    expected = cv2.cvtColor(rgb[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    assert np.abs(rgb_to_lab(rgb) - expected).max() < 0.5
    assert np.allclose(rgb_to_lab(np.array([[255, 255, 255], [0, 0, 0]])), [[100, 0, 0], [0, 0, 0]])


ADE = Vocabulary.parse("vocab:ade20k_847", allow_shared_names=True).names


def nearest(colours):
    """Distance of the nearest two, in CIELAB."""
    lab = rgb_to_lab(colours)
    return (np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e3 * np.eye(len(lab))).min()


def test_a_name_has_its_colour_in_every_order_and_spelling():
    names = ["cat", "traffic light", "sky", "Ärmel"]
    colours = dict(zip(names, class_colours(names).tolist(), strict=True))
    for seed in range(5):
        shuffled = random.Random(seed).sample(names, len(names))
        assert class_colours(shuffled).tolist() == [colours[name] for name in shuffled]
    for other in (["CAT"], [" traffic  Light "], ["sky", "cat"], ["ärmel", "cat", "dog"]):
        first = next(n for n in names if n.casefold() == " ".join(other[0].split()).casefold())
        assert class_colours(other)[0].tolist() == colours[first]


def test_names_that_ask_for_one_colour_are_told_apart_whatever_their_order():
    names = [f"class {i}" for i in range(60)]
    alone = {name: tuple(class_colours([name])[0]) for name in names}
    assert len(set(alone.values())) < 60  # some do ask for one
    together = dict(zip(names, map(tuple, class_colours(names)), strict=True))
    moved = [name for name in names if together[name] != alone[name]]
    assert 0 < len(moved) == 60 - len(set(alone.values()))  # the first of each keeps its own
    backwards = dict(zip(names[::-1], map(tuple, class_colours(names[::-1])), strict=True))
    assert backwards == together


def test_colours_of_one_vocabulary_differ_clearly():
    assert nearest(class_colours(ADE[:60])) > 20
    assert len(np.unique(class_colours(ADE), axis=0)) == len(ADE) > 800


def test_more_names_than_colours_get_colours_all_the_same():
    assert class_colours([str(i) for i in range(1100)]).shape == (1100, 3)


def test_unknown_is_grey_in_a_label_map_of_any_shape():
    colours = label_colours(np.array([[[-1, 1]]]), ["cat", "dog"])
    assert colours.shape == (1, 1, 2, 3) and colours[0, 0, 0].tolist() == [128, 128, 128]
    assert hex_colour(colours[0, 0, 0]) == "#808080"
    assert colours[0, 0, 1].tolist() == class_colours(["dog"])[0].tolist()
