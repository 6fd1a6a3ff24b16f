"""What the gate would let through, known before anything is refined."""

import numpy as np
import pytest
import torch

from stseg.self_training.gate import class_thresholds, initial_masks
from stseg.self_training.survey import Survey


def survey():
    """Three images: class 0 wins in all, class 1 in the second and third, class 2 nowhere."""
    images = []
    for k, (first, second) in enumerate([(0.9, 0.0), (0.5, 0.4), (0.7, 0.6)]):
        probs = torch.zeros(3, 2, 4)
        probs[0], probs[2] = first, 0.01
        if second:
            probs[:2, :, 2:] = torch.tensor([0.0, second])[:, None, None]
        images.append(Survey.of(k, initial_masks(probs)))
    return Survey.joined(images)


def test_pairs_are_those_of_images_and_the_classes_that_win_there():
    found = survey()
    assert found.classes_of(3) == [(0,), (0, 1), (0, 1)]
    assert found.scores[found.classes == 1].tolist() == pytest.approx([0.4, 0.6])


def test_thresholds_are_quantiles_of_the_scores_of_each_class():
    wanted = class_thresholds([[0.9, 0.5, 0.7], [0.4, 0.6], []], 0.8, 0.5)
    assert survey().thresholds(3, 0.8, 0.5).tolist() == wanted.tolist()
    assert survey().thresholds(3, 0.8, 0.0).tolist() == pytest.approx([0.8] * 3)


def test_what_passes_is_at_or_above_the_threshold_of_its_class_and_not_vetoed():
    limits = np.array([0.7, 0.6, 0.9], np.float32)
    assert survey().accepted(limits, ()).classes_of(3) == [(0,), (), (0, 1)]
    assert survey().accepted(limits, {0}).classes_of(3) == [(), (), (1,)]


def test_other_thresholds_would_let_through_a_share_of_the_pairs():
    found = survey().passing()
    some = {threshold: found[threshold] for threshold in ("0.9", "0.6", "0.1")}
    assert some == pytest.approx({"0.9": 1 / 5, "0.6": 3 / 5, "0.1": 1})


def test_no_image_is_no_pair():
    empty = Survey.joined([])
    assert empty.classes_of(2) == [(), ()] and not empty.scores.size
    assert empty.thresholds(2, 0.9, 0.5).tolist() == pytest.approx([0.9] * 2)
