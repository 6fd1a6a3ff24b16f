"""Matching and the losses of a set of masks: parity with EBSeg, and what any such loss must do."""

import numpy as np
import pytest
import torch

from stseg.modeling.losses import (
    HungarianMatcher,
    RandomPoints,
    SetCriterion,
    SetPrediction,
    masks_of_labels,
)
from stseg.modeling.losses.mask_losses import bce_cost, bce_loss, dice_cost, dice_loss
from stseg.modeling.losses.set_criterion import mean_count
from tests.helpers.ebseg_parity import RecordedPoints, assert_near, is_finite, targets_of, tensor
from tests.helpers.mask_sets import GridPoints, prediction, target
from tests.helpers.ranks import Ranks

WEIGHTS = {"loss_ce": 1.5, "1_loss_ce": 1.5, "loss_mask": 5, "loss_dice": 5}
#: The order in which the recorded run went through its rounds.
ORDER = (2, 0, 1)


def published_rounds(arrays):
    """Leaves by the name of their array, and the rounds made of them."""
    names = ("class_logits", "second_class_logits", "mask_logits")
    leaves = {f"{name}_{i}": tensor(arrays[f"{name}_{i}"]).requires_grad_()
              for name in names for i in range(3)}  # fmt: skip
    rounds = [
        SetPrediction(leaves[f"mask_logits_{i}"], {"loss_ce": leaves[f"class_logits_{i}"],
                                                   "1_loss_ce": leaves[f"second_class_logits_{i}"]})
        for i in range(3)
    ]  # fmt: skip
    return leaves, rounds


def published_losses(arrays, weights=None):
    criterion = SetCriterion(weights=weights, points=RecordedPoints(arrays, ORDER))
    leaves, rounds = published_rounds(arrays)
    return leaves, *criterion(rounds, targets_of(arrays))


def test_losses_of_pairs_and_rows_match(ebseg_fixture):
    arrays = ebseg_fixture("matcher_and_set_losses")
    logits, targets, rows = (tensor(arrays[name]) for name in ("pair_inputs", "pair_targets",
                                                               "row_targets"))  # fmt: skip
    assert_near(bce_cost(logits, targets), arrays["pair_ce"])
    assert_near(dice_cost(logits, targets), arrays["pair_dice"])
    assert_near(bce_loss(logits, rows, 2), arrays["row_ce"])
    assert_near(dice_loss(logits, rows, 2), arrays["row_dice"])


def test_costs_and_matches_match(ebseg_fixture):
    arrays = ebseg_fixture("matcher_and_set_losses")
    targets = targets_of(arrays)
    for i in ORDER:
        logits, masks = (tensor(arrays[f"{name}_{i}"]) for name in ("class_logits", "mask_logits"))
        matcher = HungarianMatcher(points=RecordedPoints(arrays, [i]))
        for image in range(2):
            costs = matcher.costs(logits[image], masks[image], targets[image])
            assert_near(sum(costs.values()), arrays[f"cost_{i}_{image}"])
        matcher = HungarianMatcher(points=RecordedPoints(arrays, [i]))
        for image, found in enumerate(matcher(logits, masks, targets)):
            assert (found.queries.numpy() == arrays[f"match_query_{i}_{image}"]).all()
            assert (found.targets.numpy() == arrays[f"match_target_{i}_{image}"]).all()


def test_losses_match(ebseg_fixture):
    arrays = ebseg_fixture("matcher_and_set_losses")
    _, losses, matches = published_losses(arrays)
    assert {f"loss/{name}" for name in losses} == {k for k in arrays if k.startswith("loss/")}
    for name, loss in losses.items():
        assert_near(loss, arrays[f"loss/{name}"])
    assert (matches[1].targets.numpy() == arrays["match_target_2_1"]).all()


def test_weighted_sum_and_its_gradients_match(ebseg_fixture):
    arrays = ebseg_fixture("matcher_and_set_losses")
    leaves, losses, _ = published_losses(arrays, WEIGHTS)
    total = sum(losses.values())
    assert_near(total, arrays["total_weighted"])
    total.backward()
    for name, leaf in leaves.items():
        assert_near(leaf.grad, arrays[f"grad_{name}"])


# --- without references ---


def test_the_order_of_queries_does_not_matter():
    torch.manual_seed(0)
    criterion, targets = SetCriterion(points=GridPoints()), [target(0, 3), target(1)]
    masks, classes = prediction()
    order = torch.randperm(6)
    moved = SetPrediction(masks[:, order], {"loss_ce": classes["loss_ce"][:, order]})
    before, _ = criterion([SetPrediction(masks, classes)], targets)
    after, _ = criterion([moved], targets)
    for name, loss in before.items():
        torch.testing.assert_close(after[name], loss)


@pytest.mark.parametrize("no_object_weight", [0.1, None])
@pytest.mark.parametrize("labels", [[(), ()], [(), (1, 2)]])
def test_images_without_targets_are_safe(labels, no_object_weight):
    torch.manual_seed(0)
    made = prediction(requires_grad=True)
    criterion = SetCriterion(no_object_weight=no_object_weight, points=RandomPoints(20))
    losses, matches = criterion([made, made], [target(*ids) for ids in labels])
    assert [len(x.queries) for x in matches] == [len(ids) for ids in labels]
    sum(losses.values()).backward()
    assert is_finite(*losses.values(), made.mask_logits.grad, made.class_logits["loss_ce"].grad)
    if not any(labels):
        assert losses["loss_mask"] == losses["loss_dice"] == 0


def test_more_targets_than_queries_leave_some_out():
    torch.manual_seed(0)
    losses, matches = SetCriterion(points=RandomPoints(20))(
        [prediction(1, queries=2)], [target(0, 1, 3)]
    )
    assert len(matches[0].queries) == 2
    assert is_finite(*losses.values())


def test_without_a_column_for_no_object_only_pairs_learn_a_class():
    torch.manual_seed(0)
    made = prediction(1, columns=4, requires_grad=True)
    criterion = SetCriterion(no_object_weight=None, points=RandomPoints(20))
    losses, (match,) = criterion([made], [target(0, 3)])
    logits = made.class_logits["loss_ce"]
    chosen = logits[0, match.queries].log_softmax(-1)[range(2), torch.tensor([0, 3])[match.targets]]
    torch.testing.assert_close(losses["loss_ce"], -chosen.mean())
    losses["loss_ce"].backward()
    learns = logits.grad[0].abs().sum(-1) > 0
    assert learns.nonzero()[:, 0].tolist() == match.queries.tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_costs_that_are_not_finite_are_named(value):
    made = prediction()
    made.class_logits["loss_ce"][1, 2] = value
    with pytest.raises(FloatingPointError, match="nan in .* class costs of image 1 of the batch"):
        SetCriterion(points=RandomPoints(20))([made], [target(0), target(1)])


def test_labels_outside_the_vocabulary_are_named():
    with pytest.raises(ValueError, match=r"class ids in \[0, 3\], got \[4\]"):
        SetCriterion()([prediction()], [target(0), target(4)])
    with pytest.raises(ValueError, match=r"one per image \(2\), got 1"):
        SetCriterion()([prediction()], [target(0)])


def test_a_weight_of_no_loss_is_named():
    criterion = SetCriterion(weights={"loss_mask_0": 5}, points=RandomPoints(20))
    with pytest.raises(ValueError, match=r"weights: expected names .* got \['loss_mask_0'\]"):
        criterion([prediction()], [target(0), target(1)])


def test_targets_may_differ_in_size():
    torch.manual_seed(0)
    targets = [target(0, 1), target(2, size=(30, 20))]
    losses, _ = SetCriterion(points=RandomPoints(20))([prediction()], targets)
    assert is_finite(*losses.values())


def test_bf16_gives_float32_losses():
    torch.manual_seed(0)
    masks, classes = prediction(requires_grad=True)
    half = SetPrediction(masks.bfloat16(), {"loss_ce": classes["loss_ce"].bfloat16()})
    with torch.autocast("cpu", torch.bfloat16):
        losses, _ = SetCriterion(points=RandomPoints(20))([half], [target(0), target(1)])
    assert {x.dtype for x in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert is_finite(masks.grad)


def test_masks_are_counted_over_processes(monkeypatch):
    assert Ranks(2).run(monkeypatch, lambda rank: mean_count([3, 8][rank])) == [5.5, 5.5]
    assert mean_count(0) == 1


def test_uncertain_points_lie_where_the_logit_is_near_zero():
    torch.manual_seed(0)
    ramp = torch.linspace(-8, 8, 32).expand(3, 4, 32)
    points = RandomPoints(400).uncertain(ramp)
    assert points.shape == (3, 400, 2)
    near = (points[..., 0] - 0.5).abs() < 0.16
    assert near[:, :300].float().mean() > 0.95 > near[:, 300:].float().mean()


def test_a_label_map_comes_apart():
    sem_seg = torch.tensor([[2, 2, 255], [0, 2, 255]])
    found = masks_of_labels(sem_seg, ignore_label=255)
    assert found.labels.tolist() == [0, 2]
    np.testing.assert_array_equal(found.masks[1], [[1, 1, 0], [0, 1, 0]])
    assert masks_of_labels(torch.full((2, 2), 255), ignore_label=255).masks.shape == (0, 2, 2)
