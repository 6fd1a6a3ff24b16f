"""The criterion against losses written out with one-hot labels, and block-wise against at once."""

import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.losses import row_blocks
from stseg.modeling.losses.criterion import (
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


def of_pixels(target, weights):
    """Weight of each pixel's class; without a label the mean of the two weights that occur."""
    if weights is None:
        return torch.ones(target.shape)
    return weights[target.clamp(min=0)].where(target >= 0, torch.tensor(0.5))


@pytest.mark.parametrize("weights", [None, class_weights(SEEN, 0.3)])
def test_bce_equals_the_one_on_one_hot_labels(case, weights):
    logits, target = case
    full = F.binary_cross_entropy_with_logits(logits, one_hot(target).float(), reduction="none")
    full = full * of_pixels(target, weights)[:, None]
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


@pytest.mark.parametrize("kind", ["bce", "softmax"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("label", range(4))
def test_all_terms_of_a_pixel_carry_the_weight_of_its_class(kind, alpha, label):
    """At a pixel of a seen class unseen ones are pushed down no harder than it is pulled up."""
    logits = torch.randn(
        1, 4, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    target = torch.full((1, 1, 1), label)

    def gradient(alpha):
        x = logits.clone().requires_grad_()
        criterion = SegmentationCriterion(kind=kind, ignored="masked", alpha=alpha)
        criterion([x], target, seen=SEEN)["loss_sem_seg_0"].backward()
        return x.grad

    weight = alpha if SEEN[label] else 1 - alpha
    torch.testing.assert_close(gradient(alpha), weight * gradient(None), rtol=1e-6, atol=1e-9)


def test_at_alpha_one_half_every_pixel_counts_half(case):
    """Pixels without a label too, where they count as of no class."""
    logits, target = case
    halves = SegmentationCriterion(alpha=0.5)([logits], target, seen=SEEN)["loss_sem_seg_0"]
    whole = SegmentationCriterion()([logits], target)["loss_sem_seg_0"]
    torch.testing.assert_close(halves, whole / 2)


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


# Score cells and label pixels: whole and broken factors, equal, coarser labels, one cell.
SIZES = [
    ((6, 5), (24, 20)),
    ((5, 7), (13, 11)),
    ((6, 6), (6, 6)),
    ((7, 6), (5, 3)),
    ((1, 1), (4, 3)),
]
VARIANTS = [("bce", "negative"), ("bce", "masked"), ("softmax", "negative")]


def at_once(kind, ignored, logits, target, weights):
    """The loss on scores upsampled whole, from one-hot labels."""
    logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)
    labels, labelled = one_hot(target).to(logits), target >= 0
    w = of_pixels(target, weights).to(logits)[:, None]
    if kind == "softmax":
        return -(w * labels * logits.log_softmax(1)).sum() / labelled.sum()
    terms = w * F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return terms.mean() if ignored == "negative" else terms.movedim(1, -1)[labelled].mean()


def block_wise(kind, ignored, logits, target, weights):
    if kind == "softmax":
        return softmax_cross_entropy(logits, target, weights=weights)
    return binary_cross_entropy(logits, target, ignored=ignored, weights=weights)


def value_and_gradient(loss, logits, *args):
    logits = logits.clone().requires_grad_()
    value = loss(*args[:2], logits, *args[2:])
    value.backward()
    return value.detach(), logits.grad


@pytest.mark.parametrize("block_bytes", [1, 700, 2**22], ids=["row", "rows", "all"])
@pytest.mark.parametrize(("cells", "pixels"), SIZES)
@pytest.mark.parametrize("weights", [None, class_weights(SEEN, 0.3)], ids=["plain", "weighted"])
@pytest.mark.parametrize(("kind", "ignored"), VARIANTS)
def test_blocks_of_rows_give_the_loss_and_gradient_of_the_whole(
    monkeypatch, kind, ignored, weights, cells, pixels, block_bytes
):
    monkeypatch.setitem(row_blocks.BLOCK_BYTES, "cpu", block_bytes)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, *cells, generator=generator, dtype=torch.float64) * 4
    target = torch.randint(-1, 4, (3, *pixels), generator=generator)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        args = (logits.to(dtype), kind, ignored, target, weights)
        value, gradient = value_and_gradient(block_wise, *args)
        expected_value, expected_gradient = value_and_gradient(at_once, *args)
        assert value.dtype == gradient.dtype == dtype
        torch.testing.assert_close(value, expected_value, rtol=tolerance, atol=0)
        atol = tolerance * expected_gradient.abs().max().item()
        torch.testing.assert_close(gradient, expected_gradient, rtol=tolerance, atol=atol)


@pytest.mark.parametrize(("kind", "ignored"), VARIANTS)
def test_the_backward_pass_keeps_nothing_of_the_labels_size(monkeypatch, kind, ignored):
    monkeypatch.setitem(row_blocks.BLOCK_BYTES, "cpu", 4 * 4 * 64 * 2)
    logits = torch.randn(1, 4, 8, 8, requires_grad=True)
    target = torch.randint(-1, 4, (1, 64, 64))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.numel()) or x, lambda x: x
    ):
        block_wise(kind, ignored, logits, target, None).backward()
    assert max(kept) <= 4 * 64 * 2  # two rows of labels


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores_are_compared_in_full_precision(case, dtype):
    logits, target = case
    logits = logits[:, :, ::2].to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(block_wise, logits, "bce", "negative", target, None)
    expected, exact = value_and_gradient(at_once, logits.float(), "bce", "negative", target, None)
    assert value.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, exact.to(dtype))


def test_a_factor_on_the_loss_reaches_the_gradient(case):
    logits, target = case
    _, gradient = value_and_gradient(block_wise, logits, "bce", "negative", target, None)
    logits.requires_grad_()
    (3 * binary_cross_entropy(logits, target)).backward()
    torch.testing.assert_close(logits.grad, 3 * gradient)


def test_a_loss_without_gradient_makes_none(case):
    logits, target = case
    with torch.no_grad():
        assert not binary_cross_entropy(logits.requires_grad_(), target).requires_grad
    assert not binary_cross_entropy(logits.detach(), target).requires_grad
