"""Weights of points, queries and classes (eq. 6) in the losses of a set of masks."""

import math

import numpy as np
import pytest
import torch

from stseg.modeling.losses import MaskTargets, SetCriterion, masks_of_labels
from stseg.modeling.losses.class_loss import class_loss, known_shares
from stseg.modeling.losses.mask_losses import bce_cost, bce_loss, dice_cost, dice_loss
from stseg.modeling.losses.matcher import Match
from tests.helpers.mask_sets import (
    GridPoints,
    gradients,
    labels_with_gaps,
    learning,
    masked,
    prediction,
    target,
)

SEEN = (True, False, False, True)


# --- formulas, anew and in float64 ---


def pairs(count=4, points=30):
    rng = np.random.default_rng(2)
    logits, truth = 4 * rng.standard_normal((count, points)), rng.random((count, points))
    known = rng.random((count, points)) * (rng.random((count, points)) > 0.5)
    known[-1] = 0  # nothing is known of the last
    return logits, truth, known, rng.random(count)


def bce_of(x, t, k):
    terms = [max(a, 0) - a * b + math.log1p(math.exp(-abs(a))) for a, b in zip(x, t, strict=True)]
    return sum(k * terms) / sum(k) if sum(k) else 0.0


def dice_of(x, t, k):
    p = k / (1 + np.exp(-x))
    return 1 - (2 * sum(p * k * t) + 1) / (sum(p) + sum(k * t) + 1)


@pytest.mark.parametrize(("loss", "formula"), [(bce_loss, bce_of), (dice_loss, dice_of)])
def test_mask_losses_are_weighted_means_over_points_and_sums_over_pairs(loss, formula):
    logits, truth, known, weights = pairs()
    expected = [formula(*rows) for rows in zip(logits, truth, known, strict=True)]
    assert expected[-1] == 0 < min(expected[:-1])
    asked = [torch.from_numpy(x) for x in (logits, truth)]
    options = {"known": torch.from_numpy(known), "weights": torch.from_numpy(weights)}
    found = loss(*asked, 3.0, **options)
    np.testing.assert_allclose(found, (weights * expected).sum() / 3, rtol=1e-12)
    asked = [x.float() for x in asked]
    options = {name: x.float() for name, x in options.items()}
    torch.testing.assert_close(loss(*asked, 3.0, **options).double(), found, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("cost", "loss"), [(bce_cost, bce_loss), (dice_cost, dice_loss)])
def test_a_cost_is_the_loss_of_its_pair(cost, loss):
    logits, truth, known, _ = (torch.from_numpy(x) for x in pairs())
    for row in known:
        found = cost(logits, truth[:3], row[None])
        assert found.shape == (4, 3)
        for q, t in np.ndindex(4, 3):
            expected = loss(logits[[q]], truth[[t]], 1.0, known=row[None])
            torch.testing.assert_close(found[q, t], expected)


@pytest.mark.parametrize("class_weights", [None, [0.3, 0.7, 0.7, 0.3]])
@pytest.mark.parametrize("no_object_weight", [0.1, None])
def test_class_loss_is_a_weighted_mean_over_queries(no_object_weight, class_weights):
    rng = np.random.default_rng(1)
    logits, shares = 3 * rng.standard_normal((2, 6, 5)), rng.random((2, 6))
    columns = logits[..., :4] if no_object_weight is None else logits
    paired = {(0, 1): 3, (0, 4): 0, (1, 5): 2}
    total = weight = 0.0
    for place in np.ndindex(2, 6):
        if place not in paired and no_object_weight is None:
            continue
        label = paired.get(place, 4)
        x = columns[place]
        w = no_object_weight * shares[place] if label == 4 else (class_weights or [1] * 4)[label]
        total += w * (math.log(sum(np.exp(x))) - x[label])
        weight += w
    targets = [MaskTargets(torch.zeros(0), torch.tensor(ids)) for ids in ([0, 3], [2])]
    matches = [Match(torch.tensor([1, 4]), torch.tensor([1, 0])),
               Match(torch.tensor([5]), torch.tensor([0]))]  # fmt: skip
    found = class_loss(
        torch.from_numpy(columns),
        targets,
        matches,
        no_object_weight,
        class_weights=class_weights and torch.tensor(class_weights, dtype=torch.float64),
        shares=torch.from_numpy(shares),
    )
    np.testing.assert_allclose(found, total / weight, rtol=1e-12)


def test_the_share_of_a_mask_is_that_of_its_area_on_known_pixels():
    torch.manual_seed(0)
    logits, image = torch.randn(2, 3, 6, 8), torch.rand(12, 16) > 0.4
    targets = [
        MaskTargets(torch.zeros(0, 12, 16), torch.zeros(0), known) for known in (image, None)
    ]
    found = known_shares(logits, targets)
    cells = image.double().numpy().reshape(6, 2, 8, 2).mean((1, 3))
    probs = logits[0].double().sigmoid().numpy()
    np.testing.assert_allclose(found[0], (probs * cells).sum((1, 2)) / probs.sum((1, 2)), rtol=1e-6)
    assert found[1].tolist() == [1, 1, 1]
    assert known_shares(logits, [target(0), target(1)]) is None


# --- eq. 6 ---


def test_pairs_weigh_as_their_class_was_seen_or_not():
    torch.manual_seed(0)
    made = learning(batch=1)
    plain = SetCriterion(points=GridPoints())
    weighed = SetCriterion(points=GridPoints(), alpha=0.3)
    of_class = {}
    for label in (0, 1):
        labels = masks_of_labels(torch.full((12, 16), label))
        (one, _), (two, _) = plain([made], [labels]), weighed([made], [labels], seen=SEEN)
        of_class[label] = [two[name] / one[name] for name in ("loss_mask", "loss_dice")]
    torch.testing.assert_close(torch.stack(of_class[0]), torch.tensor([0.3, 0.3]))
    torch.testing.assert_close(torch.stack(of_class[1]), torch.tensor([0.7, 0.7]))
    labels = masked(labels_with_gaps(0, 1))
    losses, matches = weighed([made], [labels], seen=SEEN)
    logits, shares = made.class_logits["loss_ce"], known_shares(made.mask_logits, [labels])
    weights = torch.tensor([0.3, 0.7, 0.7, 0.3])
    expected = class_loss(logits, [labels], matches, 0.1, class_weights=weights, shares=shares)
    torch.testing.assert_close(losses["loss_ce"], expected)


def test_at_alpha_one_half_masks_count_half_and_who_is_paired_stays():
    torch.manual_seed(0)
    made, targets = prediction(), [masked(labels_with_gaps(0, 2, 3)), target(1)]
    whole, first = SetCriterion(points=GridPoints())([made], targets)
    half, second = SetCriterion(points=GridPoints(), alpha=0.5)([made], targets, seen=SEEN)
    for name in ("loss_mask", "loss_dice"):
        torch.testing.assert_close(half[name], whole[name] / 2)
    assert all(torch.equal(a.queries, b.queries) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("no_object_weight", [0.1, None])
def test_classes_of_weight_0_are_safe(no_object_weight):
    torch.manual_seed(0)
    criterion = SetCriterion(no_object_weight=no_object_weight, points=GridPoints(), alpha=1.0)
    made = learning(queries=1, batch=1)  # which has its pair
    losses, found = gradients(
        criterion, made, [masks_of_labels(torch.ones(12, 16).long())], seen=SEEN
    )
    assert all(loss == 0 for loss in losses.values()) and not any(x.any() for x in found)


def test_eq_6_without_seen_marks_says_how_to_make_them():
    with pytest.raises(ValueError, match=r"vocabulary.seen.*with_seen"):
        SetCriterion(alpha=0.3)([prediction()], [target(0), target(1)])
    with pytest.raises(ValueError, match=r"SELF_TRAINING.ALPHA: expected"):
        SetCriterion(alpha=1.5)
