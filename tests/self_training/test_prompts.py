"""Prompts out of constructed masks: thin, huge, empty, at the border, in many parts."""

import numpy as np
import pytest

from stseg.self_training import prompts
from stseg.self_training.frame import Frame
from stseg.self_training.prompts import split, whole

SHAPE = (60, 100)


def blank():
    return np.zeros(SHAPE, bool)


def rectangle(top, left, bottom, right):
    mask = blank()
    mask[top:bottom, left:right] = True
    return mask


def only_part(mask):
    (part,) = whole(mask)
    return part


def test_parts_come_largest_first_and_join_diagonally():
    mask = rectangle(0, 0, 5, 5) | rectangle(20, 30, 30, 50) | rectangle(30, 50, 32, 52)
    parts = split(mask, min_share=0.0, max_parts=9)
    assert [part.area for part in parts] == [204, 25]
    assert parts[0].box == (30, 20, 51, 31)
    np.testing.assert_array_equal(np.logical_or.reduce([part.full(SHAPE) for part in parts]), mask)


def test_small_parts_are_dropped_but_never_the_largest():
    mask = rectangle(0, 0, 20, 20) | rectangle(40, 80, 42, 82)
    assert [p.area for p in split(mask, min_share=0.02, max_parts=9)] == [400]
    assert [p.area for p in split(mask, min_share=0.005, max_parts=9)] == [400, 4]
    dots = blank()
    dots[::4, ::4] = True
    assert len(split(dots, min_share=0.9, max_parts=9)) == 1


def test_a_mask_of_many_parts_is_cut_off_at_the_largest():
    dots = blank()
    dots[::4, ::4] = True
    dots[40:50, 40:50] = True
    parts = split(dots, min_share=0.0, max_parts=5)
    assert len(parts) == 5
    assert parts[0].area == 100


@pytest.mark.parametrize("find", [whole, lambda m: split(m, min_share=0.0, max_parts=3)])
def test_an_empty_mask_has_no_parts(find):
    assert find(blank()) == []


def test_a_part_within_the_box_of_another_is_not_cut_along():
    ring = rectangle(5, 5, 45, 65) & ~rectangle(10, 10, 40, 60)
    mask = ring | rectangle(20, 30, 25, 35)
    outer, inner = split(mask, min_share=0.0, max_parts=3)
    assert inner.area == 25
    assert (outer.full(SHAPE) == ring).all()


def test_the_positive_point_is_x_before_y_and_deep_inside():
    part = only_part(rectangle(10, 60, 31, 81) | rectangle(20, 20, 23, 60))
    assert prompts.positive_point(part) == (70, 20)


def test_a_thin_mask_still_gets_a_point_in_its_middle():
    line = rectangle(30, 10, 31, 91)
    assert prompts.positive_point(only_part(line)) == (50, 30)
    column = rectangle(0, 7, 60, 8)
    x, y = prompts.positive_point(only_part(column))
    assert x == 7
    assert y in (29, 30)
    diagonal = np.eye(*SHAPE, dtype=bool)
    assert diagonal[prompts.positive_point(only_part(diagonal))[::-1]]


def test_a_mask_at_the_border_is_entered_away_from_the_border():
    x, y = prompts.positive_point(only_part(rectangle(0, 0, 60, 30)))
    assert 14 <= x <= 15
    assert 14 <= y <= 45


def test_the_negative_point_is_the_background_farthest_from_the_class():
    corner = rectangle(10, 10, 50, 90) & ~rectangle(10, 60, 40, 90)
    part = only_part(corner)
    assert prompts.negative_point(part, corner) == (89, 10)


def test_another_part_of_the_class_is_no_background():
    corner = rectangle(10, 10, 50, 90) & ~rectangle(10, 60, 40, 90)
    other = rectangle(10, 75, 25, 90)
    part = split(corner | other, min_share=0.0, max_parts=2)[0]
    x, y = prompts.negative_point(part, corner | other)
    assert not (corner | other)[y, x]


def test_a_mask_that_fills_its_box_has_no_negative_point():
    for mask in (np.ones(SHAPE, bool), rectangle(3, 3, 40, 40), rectangle(5, 5, 6, 60)):
        assert prompts.negative_point(only_part(mask), mask) is None
    frayed = rectangle(3, 3, 40, 40)
    frayed[3, 3] = False  # one pixel may well be a fault of the coarse mask
    assert prompts.negative_point(only_part(frayed), frayed) is None


@pytest.mark.parametrize("make", [Frame.stretched, Frame.padded])
def test_hard_masks_are_sure_inside_and_outside(make):
    frame = make(60, 100, 128)
    logits = prompts.hard_mask(frame.mask_prompt(rectangle(15, 25, 45, 75)))
    assert logits.shape == (32, 32)
    assert logits.max() == pytest.approx(15)
    assert logits.min() == pytest.approx(-15)
    x, y = np.floor(frame.points(np.array([50, 30])) / 4).astype(int)
    assert logits[y, x] > 14


@pytest.mark.parametrize("size", [64, 1024])
def test_a_line_thinner_than_a_cell_does_not_vanish(size):
    frame = Frame.padded(1024, 1024, size)
    line = np.zeros((1024, 1024), bool)
    line[500, 100:900] = True
    logits = prompts.hard_mask(frame.mask_prompt(line))
    assert (logits > 0).sum() >= 0.75 * size / 4


def test_a_gaussian_mask_fades_from_its_centre_and_keeps_its_outline():
    frame = Frame.stretched(60, 100, 128)
    mask = rectangle(20, 0, 30, 100)
    share = frame.mask_prompt(mask)
    hard = prompts.hard_mask(share)
    soft = prompts.gaussian_mask(share, frame, (50, 25), int(mask.sum()))
    np.testing.assert_array_equal(soft > 0, hard > 0)
    np.testing.assert_array_equal(soft[hard <= 0], hard[hard <= 0])
    row = soft[int(25 / 60 * 32)]
    assert 15 <= int(row.argmax()) <= 16
    assert (np.diff(row[:16]) > 0).all()
    # 48 pixels off, at the left end: exp(-48.4^2 / (4 x 1000)).
    assert row[0] / row[15] == pytest.approx(np.exp(-(48.94**2) / 4000), rel=0.02)


def test_a_box_grows_where_the_context_is_alike_and_nowhere_else():
    frame = Frame.stretched(60, 100, 128)
    likeness = np.zeros((8, 8), bool)
    likeness[:, 4:] = True  # columns from pixel 50 on
    box = (55, 20, 74, 39)
    assert prompts.grow_box(box, likeness, frame, step=0.1, rounds=0) == box
    grown = prompts.grow_box(box, likeness, frame, step=0.1, rounds=1)
    assert grown == (53, 18, 76, 41)
    assert prompts.grow_box(box, ~likeness, frame, step=0.1, rounds=3) == box
    likeness[:4] = False  # rows above pixel 30
    assert prompts.grow_box((55, 30, 74, 39), likeness, frame, step=0.2, rounds=1) == (
        51,
        30,
        78,
        41,
    )


def test_a_box_stays_in_the_image():
    frame = Frame.padded(60, 100, 128)
    everywhere = np.ones((8, 8), bool)
    assert prompts.grow_box((2, 2, 97, 57), everywhere, frame, step=0.5, rounds=9) == (0, 0, 99, 59)
    assert prompts.grow_box((0, 0, 99, 59), everywhere, frame, step=0.5, rounds=9) == (0, 0, 99, 59)
    assert prompts.grow_box((99, 59, 99, 59), ~everywhere, frame, step=0.5, rounds=9)[2:] == (
        99,
        59,
    )


def test_cells_like_the_part_are_found_by_their_features():
    frame = Frame.padded(64, 128, 128)  # the lower half is padding
    units = np.zeros((3, 8, 8), np.float32)
    units[0, :, :4], units[1, :, 4:], units[2, 4:] = 1, 1, 5
    units /= np.linalg.norm(units, axis=0)
    mask = np.zeros((64, 128), bool)
    mask[:32, :32] = True
    found = prompts.alike(frame.mask_prompt(mask), frame, units)
    assert found[:4, :4].all()
    assert not found[:, 4:].any()
