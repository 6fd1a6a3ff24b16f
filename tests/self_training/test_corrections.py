"""A person's outlines: from text to pixels, and into pseudo-labels."""

from dataclasses import replace

import numpy as np
import pytest

from stseg.exports import mask_rings
from stseg.self_training.corrections import (
    BY_HAND,
    Correction,
    corrected,
    fill_outline,
    read_outline,
    write_outline,
)
from stseg.self_training.pseudo_label import PseudoLabel
from stseg.structures import IGNORE_LABEL
from tests.helpers.report_data import make_record

NAMES = ("cat", "dog", "cow")


def square(left, top, right, bottom):
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def filled(rings, shape):
    mask = np.zeros(shape, dtype=np.uint8)
    fill_outline(mask, rings, 1)
    return mask.astype(bool)


def test_outlines_of_masks_fill_to_the_same_masks():
    rng = np.random.default_rng(0)
    for density in np.linspace(0.1, 1, 40):
        mask = rng.random(rng.integers(1, 14, 2)) < density
        if mask.any():
            text = write_outline(mask_rings(mask))
            assert np.array_equal(filled(read_outline(text), mask.shape), mask)


def test_a_second_ring_is_a_hole_and_a_third_one_an_island():
    mask = filled([square(0, 0, 9, 9), square(2, 2, 7, 7), square(4, 4, 5, 5)], (10, 10))
    assert mask.sum() == 81 - 25 + 1
    assert mask[0, 0] and mask[4, 4] and not mask[3, 3] and not mask[9].any()


def test_slanted_edges_take_the_pixels_whose_centres_they_go_around():
    mask = filled([((0, 0), (4, 4), (0, 4))], (4, 4))
    rows, columns = np.mgrid[:4, :4]
    assert np.array_equal(mask[rows != columns], (rows > columns)[rows != columns])


@pytest.mark.parametrize("turn", [1, -1])
def test_what_lies_outside_the_map_is_left_out(turn):
    mask = filled([square(-5, 2, 3, 50)[::turn]], (4, 6))
    assert mask[2:, :3].all() and mask.sum() == 6
    assert not filled([square(10, 10, 20, 20)[::turn]], (4, 6)).any()


def label_of(label_map, *classes):
    return PseudoLabel(np.array(label_map, dtype=np.int32), None, classes)


LABEL = label_of(
    [[0, 0, 1, 1]] * 2,
    make_record(0, "cat", initial_pixels=4, refined_pixels=4),
    make_record(1, "dog", accepted=False, initial_pixels=4, refined_pixels=4),
)


def test_without_corrections_nothing_is_touched():
    assert corrected(LABEL, (), (200, 400), NAMES) is LABEL


def test_a_region_has_its_class_at_the_size_of_the_image():
    # In an image of 20 x 40 pixels: a column less wide than a pixel of the map.
    given = Correction("a", (square(5, 0, 12, 20),), 2)
    label = corrected(LABEL, [given], (20, 40), NAMES)
    assert label.label_map.shape == (20, 40)
    assert (label.label_map[:, 5:12] == 2).all() and (label.label_map == 2).sum() == 7 * 20
    assert (label.label_map[:, :5] == 0).all() and (label.label_map[:, 20:] == 1).all()
    cat, dog, cow = label.classes
    assert (cow.class_id, cow.name, cow.accepted, cow.initial_pixels) == (2, "cow", True, 0)
    assert (cow.remark, cow.refined_pixels) == (BY_HAND, 2)  # of the map's eight
    assert (cat.remark, cat.refined_pixels) == (BY_HAND, 2)  # it lost them
    assert dog == LABEL.classes[1]
    assert (LABEL.label_map[0] == (0, 0, 1, 1)).all()


def test_what_a_person_gives_counts_in_full():
    weighted = replace(LABEL, weights=np.full((2, 4), 0.5, np.float32))
    given = [Correction("a", (square(1, 0, 3, 2),), 2)]
    label = corrected(weighted, given, (2, 4), NAMES)
    assert label.weights.tolist() == [[0.5, 1, 1, 0.5]] * 2
    assert (weighted.weights == 0.5).all() and corrected(
        LABEL, given, (2, 4), NAMES
    ).weights is None


def test_a_class_that_was_gated_out_is_accepted_where_it_is_given():
    label = corrected(LABEL, [Correction("a", (square(0, 0, 1, 2),), 1)], (2, 4), NAMES)
    dog = label.classes[1]
    assert (dog.accepted, dog.reason, dog.refined_pixels) == (True, "", 6)
    assert dog.score == LABEL.classes[1].score


def test_later_corrections_lie_above_earlier_ones_and_nothing_is_no_label():
    both = [
        Correction("a", (square(0, 0, 4, 2),), 2),
        Correction("a", (square(1, 0, 3, 2),), IGNORE_LABEL),
    ]
    label = corrected(LABEL, both, (2, 4), NAMES)
    assert label.label_map.tolist() == [[2, -1, -1, 2]] * 2
    assert [record.refined_pixels for record in label.classes] == [0, 0, 4]
    assert label.coverage == 0.5


def test_a_class_that_loses_a_few_pixels_beside_the_one_that_was_meant_has_no_remark():
    # Three columns of the cat's twenty, and one of the dog's.
    label = corrected(LABEL, [Correction("a", (square(17, 0, 21, 20),), 2)], (20, 40), NAMES)
    assert [record.remark for record in label.classes] == [BY_HAND, "", BY_HAND]
