"""Labels of which some pixels count less than others, from the batch to the losses."""

import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.losses import (
    SegmentationCriterion,
    SetCriterion,
    SetPrediction,
    masks_of_labels,
    row_blocks,
)
from stseg.modeling.losses.mask_points import read_weights
from stseg.modeling.meta_arch import CEL, Batch, EBSeg, STSeg
from stseg.structures import IGNORE_LABEL, Vocabulary
from tests.helpers.mask_sets import GridPoints, gradients, labels_with_gaps, learning, prediction
from tests.helpers.tiny_model import tiny_cel_cfg, tiny_cfg, tiny_ebseg_cfg

WORDS = Vocabulary.parse("sky; tree; cat; road").with_seen("sky; cat")


def made(seed=0, size=(12, 10)):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 6, 5, generator=generator)
    labels = torch.randint(-1, 4, (2, *size), generator=generator)
    return logits.requires_grad_(), labels, torch.rand(2, *size, generator=generator)


# --- losses over score maps ---


@pytest.mark.parametrize("block_bytes", [1, 2**22])
@pytest.mark.parametrize("kind, ignored", [("bce", "masked"), ("bce", "negative"), ("softmax", "")])
def test_every_term_of_a_pixel_has_its_weight(monkeypatch, kind, ignored, block_bytes):
    monkeypatch.setitem(row_blocks.BLOCK_BYTES, "cpu", block_bytes)
    logits, labels, weights = made()
    full = F.interpolate(logits, labels.shape[-2:], mode="bilinear")
    labelled = labels >= 0
    index = labels.clamp(min=0)
    if kind == "bce":
        targets = F.one_hot(index, 4).permute(0, 3, 1, 2) * labelled[:, None]
        terms = F.binary_cross_entropy_with_logits(full, targets.float(), reduction="none").mean(1)
    else:
        terms = F.cross_entropy(full, index, reduction="none")
    counted = labelled if ignored != "negative" else torch.ones_like(labelled)
    wanted = (terms * weights * counted).sum() / counted.sum()
    criterion = SegmentationCriterion(kind=kind, ignored=ignored or "masked")
    loss = criterion([logits], labels, pixel_weights=weights)["loss_sem_seg_0"]
    torch.testing.assert_close(loss, wanted)
    found, known = (torch.autograd.grad(x, logits)[0] for x in (loss, wanted))
    torch.testing.assert_close(found, known)


def test_weights_of_one_change_nothing_beside_those_of_equation_6():
    logits, labels, weights = made()
    criterion = SegmentationCriterion(ignored="masked", alpha=0.3)
    ones = criterion([logits], labels, seen=WORDS.seen, pixel_weights=torch.ones_like(weights))
    assert ones == criterion([logits], labels, seen=WORDS.seen)


# --- masks ---


def test_what_counts_is_what_is_known_by_its_weight():
    labels = torch.tensor([[2, 2, IGNORE_LABEL], [0, 2, IGNORE_LABEL]])
    weights = torch.tensor([[0.5, 1, 0.9], [0, 0.3, 0.9]])
    masked = masks_of_labels(labels, weights, ignored="masked")
    assert torch.equal(masked.counted(), torch.tensor([[0.5, 1, 0], [0, 0.3, 0]]))
    torch.testing.assert_close(masked.mask_weights(), torch.tensor([0.0, 0.6]))
    assert torch.equal(masks_of_labels(labels, weights).counted(), weights)
    plain = masks_of_labels(labels, ignored="masked")
    assert plain.counted() is plain.known and plain.mask_weights() is None
    assert masks_of_labels(labels).counted() is None
    nothing = masks_of_labels(torch.full((2, 3), IGNORE_LABEL), weights)
    assert nothing.mask_weights().shape == (0,)


def test_points_have_the_weight_of_where_they_lie():
    labels, weights = torch.tensor([[0, 1]]), torch.tensor([[0.25, 0.75]])
    one, other = masks_of_labels(labels, weights), masks_of_labels(labels)
    points = torch.tensor([[[0.25, 0.5], [0.0, 0.0]], [[0.6, 0.5], [1.0, 1.0]], [[0.1, 0.1]] * 2])
    both = [(one, torch.tensor([0, 1])), (other, torch.tensor([0]))]
    wanted = torch.tensor([[0.25, 0.25], [0.75, 0.75], [1, 1]])
    torch.testing.assert_close(read_weights(both, points), wanted)
    assert read_weights([(other, torch.tensor([0, 1, 0]))], points) is None


@pytest.mark.parametrize("no_object_weight", [None, 0.1])
@pytest.mark.parametrize("ignored", ["masked", "negative"])
@pytest.mark.parametrize("alpha", [None, 0.3])
def test_weights_of_one_teach_a_set_what_none_do(no_object_weight, ignored, alpha):
    torch.manual_seed(0)
    labels = [labels_with_gaps(0, 2), labels_with_gaps(1, 3, seed=1)]
    columns = 4 + (no_object_weight is not None)
    query = learning(columns=columns)
    criterion = SetCriterion(no_object_weight=no_object_weight, points=GridPoints(), alpha=alpha)
    plain, ones = (
        gradients(
            criterion,
            query,
            [masks_of_labels(x, w, ignored=ignored) for x in labels],
            seen=WORDS.seen,
        )
        for w in (None, torch.ones(12, 16))
    )
    torch.testing.assert_close(ones, plain)


@pytest.mark.parametrize("no_object_weight", [None, 0.1])
def test_a_pair_counts_as_its_mask_does(no_object_weight):
    torch.manual_seed(0)
    columns = 4 + (no_object_weight is not None)
    masks, classes = prediction(batch=1, queries=2, columns=columns)
    labels = torch.zeros(12, 16, dtype=torch.long)
    labels[:, 8:] = 2
    criterion = SetCriterion(no_object_weight=no_object_weight, points=GridPoints())

    def losses(left, right):
        weights = torch.tensor([left, right])[labels // 2]
        rounds = [SetPrediction(masks, classes)]
        found, (match,) = criterion(rounds, [masks_of_labels(labels, weights, ignored="masked")])
        return found, match

    both, match = losses(1.0, 1.0)
    half, _ = losses(0.5, 0.5)
    torch.testing.assert_close(half["loss_mask"], both["loss_mask"] / 2)
    # Dice has 1 added on both sides, which counts in full.
    torch.testing.assert_close(half["loss_dice"], both["loss_dice"] / 2, rtol=0.1, atol=0)
    torch.testing.assert_close(half["loss_ce"], both["loss_ce"])  # a mean over pairs
    alone, _ = losses(1.0, 1e-6)
    query = match.queries[match.targets == 0]
    wanted = F.cross_entropy(classes["loss_ce"][0, query], torch.tensor([0]))
    torch.testing.assert_close(alone["loss_ce"], wanted, atol=1e-4, rtol=1e-4)


# --- batches and systems ---


def item(weights=None, size=(64, 96)):
    generator = torch.Generator().manual_seed(1)
    labels = torch.zeros(size, dtype=torch.long)
    labels[:, size[1] // 2 :], labels[: size[0] // 2, :8] = 1, IGNORE_LABEL
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    found = {"image": image, "vocabulary": WORDS, "sem_seg": labels}
    return found if weights is None else {**found, "sem_seg_weight": torch.full(size, weights)}


def test_a_batch_pads_with_one_and_fills_in_what_is_not_given():
    batch = Batch.of([item(0.5, (8, 6)), item(None, (5, 9))], torch.device("cpu"))
    assert batch.sem_seg_weight.shape == batch.sem_seg.shape == (2, 8, 9)
    assert (batch.sem_seg_weight[0, :, :6] == 0.5).all()
    assert (batch.sem_seg_weight[0, :, 6:] == 1).all() and (batch.sem_seg_weight[1] == 1).all()
    assert Batch.of([item(), item()], torch.device("cpu")).sem_seg_weight is None


SYSTEMS = {
    "STSeg": lambda x: STSeg(tiny_cfg(**x)),
    "EBSeg": lambda x: EBSeg(tiny_ebseg_cfg(**x)),
    "CEL": lambda x: CEL(tiny_cel_cfg(**x)),
}


@pytest.mark.parametrize("build", SYSTEMS.values(), ids=SYSTEMS.keys())
def test_without_weights_no_criterion_is_told_of_any(build):
    model, told = build({}).train(), []
    model.criterion.register_forward_pre_hook(lambda *x: told.append(x[1:]), with_kwargs=True)
    model([item()])
    model([item(0.5)])
    (plain, options), (weighted, others) = told
    assert "pixel_weights" not in options
    assert all(getattr(target, "weights", None) is None for target in plain[1])
    of_target = [getattr(target, "weights", None) for target in weighted[1]]
    assert (0.5 in others.get("pixel_weights", of_target[0])) and len(plain[1]) == 1


@pytest.mark.parametrize("ignored", ["masked", "negative"])
@pytest.mark.parametrize("build", SYSTEMS.values(), ids=SYSTEMS.keys())
def test_every_system_learns_less_from_what_counts_less(build, ignored):
    torch.manual_seed(0)
    model = build({"MODEL__LOSS__IGNORED": ignored}).train()

    def losses(*weights):
        torch.manual_seed(1)
        return model([item(w) for w in weights])

    plain, ones, little = losses(None, None), losses(1.0, None), losses(0.01, 0.01)
    torch.testing.assert_close(ones, plain)
    of_masks = [name for name in plain if name.startswith(("loss_mask", "loss_sem_seg"))]
    assert of_masks and all(little[name] < 0.5 * plain[name] for name in of_masks)
