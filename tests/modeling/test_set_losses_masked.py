"""What a set of masks learns from labels with gaps, and what it does not."""

import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.losses import RandomPoints, SetCriterion, SetPrediction, masks_of_labels
from stseg.modeling.losses.mask_points import read_at, read_truth
from stseg.structures import IGNORE_LABEL
from tests.helpers.ebseg_parity import is_finite
from tests.helpers.mask_sets import (
    GridPoints,
    gradients,
    labels_with_gaps,
    learning,
    masked,
    prediction,
    target,
    tensors,
    unlabelled,
)
from tests.helpers.ranks import Ranks

SEEN = (True, False, False, True)
NAMES = ("loss_ce", "loss_mask", "loss_dice")


# --- where what is known ends ---


def test_a_label_map_says_where_it_says_anything():
    sem_seg = torch.tensor([[2, 2, IGNORE_LABEL], [0, 2, IGNORE_LABEL]])
    found, published = masked(sem_seg), masks_of_labels(sem_seg)
    assert found.known.tolist() == [[True, True, False]] * 2 and published.known is None
    assert torch.equal(found.masks, published.masks)
    assert torch.equal(found.labels, published.labels)


def test_a_mask_does_not_fade_where_its_image_is_not_labelled_any_further():
    torch.manual_seed(0)
    points = torch.rand(1, 500, 2)
    one_class = masked(labels_with_gaps(3))
    truth, known = read_truth(one_class, points)
    assert ((known > 0) & (known < 1)).sum() > 50
    assert (truth[known > 0] == 1).all() and (truth[known == 0] == 0).all()
    several = masked(labels_with_gaps(0, 2, 3))
    truth, known = read_truth(several, points)
    torch.testing.assert_close(known * truth, read_at(several.masks, points))
    torch.testing.assert_close(truth.sum(0), (known[0] > 0).float())


def test_points_of_each_mask_are_read_from_the_same_image():
    torch.manual_seed(0)
    points, both = torch.rand(2, 50, 2), masked(labels_with_gaps(0, 2))
    truth, known = read_truth(both, points)
    for k in range(2):
        one = read_truth(both, points[[k]])
        torch.testing.assert_close(truth[k], one[0][k])
        torch.testing.assert_close(known[k], one[1][0])


# --- what unknown pixels teach ---


def test_unknown_pixels_get_no_gradient_and_have_no_say():
    torch.manual_seed(0)
    labels = torch.full((24, 32), IGNORE_LABEL)
    labels[:, :8], labels[:, 8:16] = 1, 3
    made = learning(batch=1)
    criterion = SetCriterion(points=GridPoints())
    _, (masks, classes) = gradients(criterion, made, [masked(labels)])
    assert masks[..., :4].abs().sum() > 0 and classes.abs().sum(-1).min() > 0
    assert not masks[..., 5:].any()  # the fifth column is read in part at what lies left of it
    # Whatever a query says there, its pair and the losses of its mask stay.
    other = made.mask_logits.detach().clone()
    other[..., 5:] = torch.randn(other[..., 5:].shape) * 9
    before, after = (criterion.matcher.costs(made.class_logits["loss_ce"][0], x[0], masked(labels))
                     for x in (made.mask_logits, other))  # fmt: skip
    assert all(torch.equal(cost, after[name]) for name, cost in before.items())
    one, first = criterion([made], [masked(labels)])
    two, second = criterion([made._replace(mask_logits=other)], [masked(labels)])
    assert torch.equal(first[0].queries, second[0].queries)
    assert torch.equal(one["loss_mask"], two["loss_mask"])
    assert torch.equal(one["loss_dice"], two["loss_dice"])
    published, _ = criterion([made], [masks_of_labels(labels)])
    assert all(one[name] != published[name] for name in NAMES)


def test_a_query_that_answers_for_what_is_unlabelled_is_left_alone():
    torch.manual_seed(0)
    labels = torch.full((24, 32), 1)
    labels[:, 16:] = IGNORE_LABEL
    made = learning(batch=1, queries=3)
    masks, classes = tensors(made)
    with torch.no_grad():
        masks[0] = -200
        masks[0, 0], masks[0, 1, :, 4:], masks[0, 2, :, :2] = 9, 9, 9
        classes[0] = 0
        classes[0, 0, 1] = 9  # the pair of the only mask
    _, (_, found) = gradients(SetCriterion(points=GridPoints()), made, [masked(labels)])
    assert not found[0, 1].any() and found[0, 2].any()
    _, (_, published) = gradients(
        SetCriterion(points=GridPoints()), made, [masks_of_labels(labels)]
    )
    assert published[0, 1].any()


@pytest.mark.parametrize("no_object_weight", [0.1, None])
def test_an_unlabelled_image_teaches_nothing(no_object_weight):
    torch.manual_seed(0)
    criterion = SetCriterion(no_object_weight=no_object_weight, points=RandomPoints(20))
    made = learning()
    losses, found = gradients(criterion, made, [unlabelled(), unlabelled()])
    assert all(loss == 0 for loss in losses.values())
    assert not any(grad.any() for grad in found) and is_finite(*found)


@pytest.mark.parametrize("no_object_weight", [0.1, None])
def test_an_unlabelled_image_changes_nothing_beside_another(no_object_weight):
    torch.manual_seed(0)
    criterion = SetCriterion(no_object_weight=no_object_weight, points=GridPoints())
    both = learning()
    alone = SetPrediction(both.mask_logits[:1], {"loss_ce": both.class_logits["loss_ce"][:1]})
    labels = masked(labels_with_gaps(0, 3))
    expected, _ = criterion([alone], [labels])
    losses, found = gradients(criterion, both, [labels, unlabelled()])
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name])
    assert all(grad[0].any() and not grad[1].any() for grad in found)


def test_an_image_of_which_all_is_known_stays_as_it_is_beside_one_with_gaps():
    torch.manual_seed(0)
    criterion = SetCriterion(points=GridPoints())
    both, targets = prediction(), [target(0, 3), masked(labels_with_gaps(1))]
    one, two = (
        SetPrediction(x[None], {"loss_ce": y[None]}) for x, y in zip(*tensors(both), strict=True)
    )
    losses, _ = criterion([both], targets)
    first, second = (criterion([x], [t])[0] for x, t in zip((one, two), targets, strict=True))
    for name in ("loss_mask", "loss_dice"):  # of two masks and of one
        torch.testing.assert_close(losses[name], (2 * first[name] + second[name]) / 3)


def test_the_order_of_queries_and_images_does_not_matter():
    torch.manual_seed(0)
    criterion = SetCriterion(points=GridPoints(), alpha=0.3)
    targets = [masked(labels_with_gaps(0, 3)), masked(labels_with_gaps(1, seed=5)), target(2)]
    masks, classes = prediction(3)
    order = torch.randperm(6)
    moved = SetPrediction(
        masks.flip(0)[:, order], {"loss_ce": classes["loss_ce"].flip(0)[:, order]}
    )
    before, _ = criterion([SetPrediction(masks, classes)], targets, seen=SEEN)
    after, _ = criterion([moved], targets[::-1], seen=SEEN)
    for name, loss in before.items():
        torch.testing.assert_close(after[name], loss)


def test_where_all_is_known_the_losses_are_those_without_gaps():
    torch.manual_seed(0)

    class Inside(GridPoints):
        points = 0.1 + 0.8 * GridPoints.points  # at an image's border its pixels count in part

    labels = labels_with_gaps(0, 3).clamp(min=0)
    made = learning(batch=1)
    criterion = SetCriterion(points=Inside())
    ways = (masked(labels), masks_of_labels(labels))
    one, two = (gradients(criterion, made, [way]) for way in ways)
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("no_object_weight", [0.1, None])
def test_without_gaps_the_losses_are_the_published_ones_to_the_last_bit(no_object_weight):
    torch.manual_seed(0)
    criterion = SetCriterion(no_object_weight=no_object_weight, points=GridPoints())
    made = learning(columns=5 if no_object_weight else 4)
    targets = [target(0, 3), target(1)]
    losses, matches = criterion([made], targets)
    logits = torch.cat([x[m.queries] for x, m in zip(made.mask_logits, matches, strict=True)])
    points = GridPoints().uncertain(logits)
    x = read_at(logits, points)
    truth = torch.cat([t.masks[m.targets] for t, m in zip(targets, matches, strict=True)])
    truth, p = read_at(truth, points), x.sigmoid()
    bce = F.binary_cross_entropy_with_logits(x, truth, reduction="none").mean(1).sum() / 3
    dice = (1 - (2 * (p * truth).sum(-1) + 1) / (p.sum(-1) + truth.sum(-1) + 1)).sum() / 3
    assert torch.equal(losses["loss_mask"], bce) and torch.equal(losses["loss_dice"], dice)
    ids = torch.full((2, 6), 4)
    for row, t, m in zip(ids, targets, matches, strict=True):
        row[m.queries] = t.labels[m.targets]
    x = made.class_logits["loss_ce"]
    if no_object_weight is None:
        expected = F.cross_entropy(x[ids < 4], ids[ids < 4])
    else:
        columns = torch.tensor([1, 1, 1, 1, no_object_weight])
        expected = F.cross_entropy(x.transpose(1, 2), ids, columns)
    assert torch.equal(losses["loss_ce"], expected)


def test_half_precision_gives_float32_losses_and_finite_gradients():
    torch.manual_seed(0)
    made = learning()
    inputs = tensors(made)
    half = SetPrediction(inputs[0].bfloat16(), {"loss_ce": inputs[1].bfloat16()})
    with torch.autocast("cpu", torch.bfloat16):
        targets = [masked(labels_with_gaps(0, 3)), unlabelled()]
        losses, _ = SetCriterion(points=RandomPoints(20))([half], targets)
    assert {x.dtype for x in losses.values()} == {torch.float32}
    assert is_finite(*torch.autograd.grad(sum(losses.values()), inputs))


def test_every_process_counts_masks_whether_it_has_some_or_not(monkeypatch):
    torch.manual_seed(0)
    made = prediction(1)
    criterion = SetCriterion(points=GridPoints())
    targets = [[masked(labels_with_gaps(0, 1, 3))], [unlabelled()], [unlabelled()]]
    alone, _ = criterion([made, made], targets[0])
    gathered = []
    found = Ranks(3, gathered).run(
        monkeypatch, lambda rank: criterion([made] * 2, targets[rank])[0]
    )
    assert sorted(gathered) == [0, 0, 3]
    assert found[0].keys() == found[1].keys() == found[2].keys()
    torch.testing.assert_close(found[0]["loss_mask"], 3 * alone["loss_mask"])  # mean 1, not 3
    assert all(loss == 0 for losses in found[1:] for loss in losses.values())
