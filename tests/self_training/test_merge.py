"""Masks of several classes on top of each other."""

import itertools

import numpy as np
import pytest

from stseg.self_training.merge import merge


def strips():
    left, right = np.zeros((2, 2, 6), bool)
    left[:, :4], right[:, 3:5] = True, True
    return left, right


def test_the_better_product_wins_and_the_rest_is_ignored():
    merged = merge(strips(), [7, 3], [0.9, 1.0], [0.9, 0.5], (2, 6))
    assert merged.dtype == np.int32
    assert merged[0].tolist() == [7, 7, 7, 7, 3, -1]
    merged = merge(strips(), [7, 3], [0.9, 1.0], [0.5, 0.9], (2, 6))
    assert merged[0].tolist() == [7, 7, 7, 3, 3, -1]


def test_of_equals_the_lower_class_wins_in_any_order():
    left, right = strips()
    for masks, ids in (((left, right), [7, 3]), ((right, left), [3, 7])):
        merged = merge(masks, ids, [0.9, 0.9], [0.8, 0.8], (2, 6))
        assert merged[0].tolist() == [7, 7, 7, 3, 3, -1]


def test_the_order_of_masks_does_not_matter():
    rng = np.random.default_rng(0)
    masks, ids = rng.random((4, 9, 11)) > 0.5, np.array([5, 2, 9, 0])
    scores, ious = np.array([0.9, 0.8, 0.9, 0.95]), np.array([0.5, 0.7, 0.5, 0.2])
    expected = None
    for order in map(list, itertools.permutations(range(4))):
        merged = merge(masks[order], ids[order], scores[order], ious[order], (9, 11))
        expected = merged if expected is None else expected
        np.testing.assert_array_equal(merged, expected)
    # Each pixel by hand.
    strength = scores * ious
    for y, x in np.ndindex(9, 11):
        on = np.flatnonzero(masks[:, y, x])
        best = min(on, key=lambda k: (-strength[k], ids[k])) if len(on) else None
        assert expected[y, x] == (-1 if best is None else ids[best])


def test_nothing_accepted_is_all_ignored():
    assert (merge([], [], [], [], (3, 4)) == -1).all()
    assert (merge(np.zeros((0, 3, 4), bool), [], [], [], (3, 4)) == -1).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="as many masks"):
        merge(strips(), [1], [0.5], [0.5], (2, 6))
    with pytest.raises(ValueError, match="shape"):
        merge(strips(), [1, 2], [0.5, 0.5], [0.5, 0.5], (6, 2))
    with pytest.raises(ValueError, match="at least 0, got -1"):
        merge(strips(), [1, -1], [0.5, 0.5], [0.5, 0.5], (2, 6))
