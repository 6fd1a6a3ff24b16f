"""Initial masks, class scores and the gate."""

import numpy as np
import pytest
import torch

from stseg.self_training.gate import class_thresholds, floors_of, gate, initial_masks

PROBS = torch.tensor(
    [
        [[0.95, 0.80], [0.10, 0.20]],
        [[0.10, 0.20], [0.60, 0.20]],
        [[0.99, 0.10], [0.20, 0.71]],
    ]
)  # class 0 wins one pixel, 1 one, 2 two


def test_the_best_class_of_each_pixel_wins():
    initial = initial_masks(PROBS)
    assert initial.label_map.tolist() == [[2, 0], [1, 2]]
    assert initial.label_map.dtype == np.int32
    assert initial.confidence.dtype == np.float32
    np.testing.assert_allclose(initial.confidence, [[0.99, 0.8], [0.6, 0.71]])


def test_max_scores_look_at_every_pixel_and_mean_scores_at_those_won():
    np.testing.assert_allclose(initial_masks(PROBS, "max").scores, [0.95, 0.6, 0.99])
    np.testing.assert_allclose(initial_masks(PROBS, "mean").scores, [0.8, 0.6, 0.85], rtol=1e-6)


def test_a_class_is_scored_by_the_pixels_that_it_wins():
    """Of two near synonyms one wins the pixels, and the other must not pass by them elsewhere."""
    np.testing.assert_allclose(initial_masks(PROBS).scores, [0.8, 0.6, 0.99])
    np.testing.assert_allclose(initial_masks(PROBS, "won").scores, [0.8, 0.6, 0.99])


def test_pixels_below_the_floor_are_left_out_and_a_class_with_no_other_does_not_pass():
    initial = initial_masks(PROBS)
    assert initial.above(np.full(3, 0.7)).tolist() == [[2, 0], [-1, 2]]
    limits = np.full(3, 0.9, np.float32)
    assert floors_of(limits, 0.5).tolist() == [0.5] * 3
    # By the letter of the paper a class passes by pixels that another one wins.
    decisions = gate(initial_masks(PROBS, "max"), limits, min_pixel=0.85)
    assert [d.accepted for d in decisions] == [False, False, True]
    assert decisions[0].reason == "no pixel of 0.85 or more"
    assert [d.pixels for d in decisions] == [1, 1, 2]  # what was won, as before


def test_a_threshold_below_the_floor_lowers_it():
    limits = np.array([0.9, 0.3, 0.9], np.float32)
    assert floors_of(limits, 0.7).tolist() == pytest.approx([0.7, 0.3, 0.7])
    decisions = gate(initial_masks(PROBS), limits, min_pixel=0.7)
    assert [d.accepted for d in decisions] == [False, True, True]


def test_a_class_without_pixels_has_no_mean_and_no_decision():
    probs = torch.stack([torch.full((3, 4), 0.9), torch.full((3, 4), 0.1)])
    initial = initial_masks(probs, "mean")
    assert initial.scores.tolist() == pytest.approx([0.9, 0.0])
    decisions = gate(initial, np.array([0.5, 0.0]))
    assert [d.class_id for d in decisions] == [0]
    assert decisions[0].pixels == 12


def test_of_equal_classes_the_lower_id_wins():
    assert (initial_masks(torch.full((5, 6, 7), 0.5)).label_map == 0).all()


def test_half_precision_is_read_too():
    assert initial_masks(PROBS.half()).scores.dtype == np.float32


def test_reasons_are_in_words():
    limits = np.full(3, 0.9, np.float32)
    first, second, third = gate(initial_masks(PROBS, "max"), limits, vetoed={2})
    assert (first.accepted, first.reason) == (True, "")
    assert (second.accepted, second.reason) == (False, "score 0.60 below 0.90")
    assert (third.accepted, third.reason) == (False, "vetoed")
    assert [d.pixels for d in (first, second, third)] == [1, 1, 2]


def test_a_near_miss_does_not_read_as_equal():
    probs = torch.full((1, 2, 2), 0.8999)
    (decision,) = gate(initial_masks(probs), np.array([0.9]))
    assert decision.reason == "score 0.8999 below 0.9000"


def test_a_score_at_the_threshold_passes():
    probs = torch.full((1, 2, 2), 0.9)
    (decision,) = gate(initial_masks(probs), class_thresholds([[0.9]], 0.9))
    assert decision.accepted


def test_class_thresholds_are_quantiles_but_never_above_the_common_one():
    easy, hard, absent = [0.95, 0.97, 0.99], [0.2, 0.3, 0.4, 0.5, 0.6], []
    thresholds = class_thresholds([easy, hard, absent], 0.9, quantile=0.8)
    np.testing.assert_allclose(thresholds, [0.9, 0.5, 0.9])
    np.testing.assert_allclose(class_thresholds([easy, hard, absent], 0.9), [0.9] * 3)


def test_with_a_quantile_the_best_image_of_every_class_passes():
    scores = [[0.31, 0.47], [0.12]]
    thresholds = class_thresholds(scores, 0.9, quantile=1.0)
    for own, threshold in zip(scores, thresholds, strict=True):
        assert np.float32(max(own)) >= threshold


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"SCORING.*max, mean.*'median'"):
        initial_masks(PROBS, "median")
    with pytest.raises(ValueError, match=r"\(T, H, W\)"):
        initial_masks(PROBS[0])
    with pytest.raises(FloatingPointError, match="NaN"):
        initial_masks(torch.full((2, 2, 2), float("nan")))
    with pytest.raises(ValueError, match=r"THRESH.*1.5"):
        class_thresholds([], 1.5)
    with pytest.raises(ValueError, match=r"QUANTILE.*-0.1"):
        class_thresholds([], 0.9, -0.1)
    with pytest.raises(ValueError, match="3 classes, got 2"):
        gate(initial_masks(PROBS), np.zeros(2))


def test_one_pixel_of_nan_is_enough_to_stop():
    probs = PROBS.clone()
    probs[1, 0, 1] = float("nan")
    with pytest.raises(FloatingPointError):
        initial_masks(probs)
