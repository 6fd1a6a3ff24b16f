"""The criterion against losses written out with one-hot labels."""

import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.losses.segmentation import (
    SegmentationCriterion,
    binary_cross_entropy,
    class_weights,
    softmax_cross_entropy,
)
from stseg.structures import IGNORE_LABEL

SEEN = (True, False, True, False)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 6, 5, generator=generator) * 4
    target = torch.randint(-1, 4, (2, 6, 5), generator=generator)
    assert (target == IGNORE_LABEL).any()
    return logits, target


def one_hot(target):
    return F.one_hot(target.clamp(min=0), 4).permute(0, 3, 1, 2) * (target >= 0)[:, None]


@pytest.mark.parametrize("weights", [None, class_weights(SEEN, 0.3)])
def test_bce_equals_the_one_on_one_hot_labels(case, weights):
    logits, target = case
    full = F.binary_cross_entropy_with_logits(logits, one_hot(target).float(), reduction="none")
    if weights is not None:
        full = full * weights[:, None, None]
    ours = binary_cross_entropy(logits, target, weights=weights)
    torch.testing.assert_close(ours, full.mean())
    masked = binary_cross_entropy(logits, target, ignored="masked", weights=weights)
    torch.testing.assert_close(masked, full.movedim(1, -1)[target >= 0].mean())


@pytest.mark.parametrize("weights", [None, class_weights(SEEN, 0.3)])
def test_softmax_equals_equation_6(case, weights):
    logits, target = case
    w = torch.ones(4) if weights is None else weights
    terms = -(w[:, None, None] * one_hot(target) * logits.log_softmax(1)).sum(1)
    expected = terms.sum() / (target >= 0).sum()
    torch.testing.assert_close(softmax_cross_entropy(logits, target, weights=weights), expected)


def test_extreme_logits_stay_finite_with_their_gradient():
    logits = torch.tensor([1e4, -1e4, 60.0, -60.0]).reshape(1, 4, 1, 1).requires_grad_()
    loss = binary_cross_entropy(logits, torch.tensor([[[1]]]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["bce", "softmax"])
def test_a_picture_without_labels_masks_out_to_zero(case, kind):
    logits, target = case
    criterion = SegmentationCriterion(kind=kind, ignored="masked")
    logits.requires_grad_()
    loss = criterion([logits], torch.full_like(target, IGNORE_LABEL))["loss_sem_seg_0"]
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_seen_classes_weigh_alpha_and_unseen_the_rest():
    assert class_weights(SEEN, 0.3).tolist() == pytest.approx([0.3, 0.7, 0.3, 0.7])


def test_every_score_map_is_compared_at_the_labels_size(case):
    logits, target = case
    coarse = logits[:, :, ::2, ::2]
    losses = SegmentationCriterion()([logits, coarse], target)
    upsampled = F.interpolate(coarse, size=(6, 5), mode="bilinear", align_corners=False)
    torch.testing.assert_close(losses["loss_sem_seg_1"], binary_cross_entropy(upsampled, target))


@pytest.mark.parametrize("wrong", [4, 255, -2])
def test_a_label_outside_the_vocabulary_is_named(case, wrong):
    logits, target = case
    target[0, 0, 0] = wrong
    with pytest.raises(ValueError, match=rf"sem_seg: expected class ids in \[0, 3\].*{wrong}"):
        SegmentationCriterion()([logits], target)


def test_eq_6_without_seen_marks_says_how_to_make_them(case):
    logits, target = case
    with pytest.raises(ValueError, match=r"vocabulary.seen.*with_seen"):
        SegmentationCriterion(alpha=0.3)([logits], target)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [({"kind": "l2"}, "KIND"), ({"ignored": "yes"}, "IGNORED"), ({"alpha": 1.5}, "ALPHA")],
)
def test_bad_settings_are_named(arguments, key):
    with pytest.raises(ValueError, match=key):
        SegmentationCriterion(**arguments)
