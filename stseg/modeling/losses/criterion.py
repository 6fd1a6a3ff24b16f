"""Segmentation losses over class score maps: SED's binary cross entropy and eq. 6 of the paper.

Shapes: B images, T classes, H x W label pixels, h x w score cells.
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check
from stseg.modeling.losses.row_blocks import sum_over_rows
from stseg.structures import IGNORE_LABEL


def class_weights(seen: Sequence[bool], alpha: float) -> Tensor:
    """Weights w_c of eq. 6: `alpha` for seen classes, `1 - alpha` for unseen ones; (T,) float32."""
    return torch.tensor([alpha if s else 1 - alpha for s in seen], dtype=torch.float32)


def eq_6_weights(alpha: float | None, seen: Sequence[bool] | None) -> Tensor | None:
    """`class_weights` where there is an alpha, else None.

    Raises:
        ValueError: if the marks are missing where there is one.
    """
    if alpha is None:
        return None
    if seen is None:
        raise ValueError(
            "vocabulary.seen: expected a mark per class because SELF_TRAINING.ENABLED is on, got "
            "None. Mark it with Vocabulary.with_seen(source names)."
        )
    return class_weights(seen, alpha)


def binary_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_label: int = IGNORE_LABEL,
    ignored: str = "negative",
    weights: Tensor | None = None,
    pixel_weights: Tensor | None = None,
) -> Tensor:
    """Mean binary cross entropy of every class at every pixel, against one-hot labels.

    Equal to `binary_cross_entropy_with_logits` on upsampled logits and one-hot targets, without
    building either: softplus(x) summed over all classes, minus the logit of the labelled class.

    Args:
        logits: (B, T, h, w), compared at the size of the labels (bilinear).
        target: (B, H, W) int64 class ids in [0, T) or `ignore_label`.
        ignore_label: id of pixels without a label.
        ignored: "negative" counts them as belonging to no class, as published by SED; "masked"
            leaves them out.
        weights: (T,) weight of each class, or None for 1. All terms of a pixel, the negative ones
            of other classes too, carry the weight of the class it is labelled with (eq. 6); one
            without a label, where it counts, the mean of the least and the greatest weight.
        pixel_weights: (B, H, W) in [0, 1], factors on all terms of each pixel, None for 1; the
            mean divides by the number of pixels whatever they weigh.

    Returns:
        Scalar; 0 if every pixel is masked out.
    """
    masked = ignored == "masked"
    weights = None if weights is None else weights.to(logits.device)
    unlabelled = 0.0 if masked or weights is None else (weights.min() + weights.max()) / 2
    more = () if pixel_weights is None else (pixel_weights,)

    def block_loss(logits: Tensor, target: Tensor, *factors: Tensor) -> Tensor:
        labelled = target != ignore_label
        index = target.where(labelled, 0)
        negative = F.softplus(logits)
        positive = logits.gather(1, index[:, None])[:, 0] * labelled
        if weights is not None:
            of_pixel = weights[index].where(labelled, unlabelled).to(logits)
            negative, positive = negative * of_pixel[:, None], positive * of_pixel
        elif masked:
            negative = negative * labelled[:, None]
        for factor in factors:
            negative, positive = negative * factor[:, None], positive * factor
        return negative.sum() - positive.sum()

    pixels = (target != ignore_label).sum().clamp(min=1) if masked else target.numel()
    return sum_over_rows(logits, target, block_loss, *more) / (pixels * logits.shape[1])


def softmax_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_label: int = IGNORE_LABEL,
    weights: Tensor | None = None,
    pixel_weights: Tensor | None = None,
) -> Tensor:
    """Eq. 6 read literally: `-1/N sum w_c y_c log p_c` with p = softmax over classes.

    Args and returns as `binary_cross_entropy`; N counts the labelled pixels.
    """
    weights = None if weights is None else weights.to(logits.device)
    more = () if pixel_weights is None else (pixel_weights,)

    def block_loss(logits: Tensor, target: Tensor, *factors: Tensor) -> Tensor:
        labelled = target != ignore_label
        index = target.where(labelled, 0)
        nll = -F.log_softmax(logits, dim=1).gather(1, index[:, None])[:, 0]
        if weights is not None:
            nll = nll * weights.to(nll)[index]
        for factor in factors:
            nll = nll * factor
        return (nll * labelled).sum()

    labelled = (target != ignore_label).sum().clamp(min=1)
    return sum_over_rows(logits, target, block_loss, *more) / labelled


class SegmentationCriterion(nn.Module):
    """One loss per score map of the decoder, each against labels at full size."""

    @configurable
    def __init__(self, *, kind: str = "bce", ignored: str = "negative", alpha: float | None = None):
        """Build the criterion.

        Args:
            kind: "bce" (SED; the paper's eq. 6 with both terms) or "softmax" (eq. 6 literally).
            ignored: what "bce" does with unlabelled pixels, see `binary_cross_entropy`.
            alpha: weight of seen classes in [0, 1], 1 - alpha for unseen ones (eq. 6); None
                weighs all alike (stage 1).

        Raises:
            ValueError: if a value is out of its range.
        """
        super().__init__()
        self.kind = check("MODEL.LOSS.KIND", kind)
        self.ignored = check("MODEL.LOSS.IGNORED", ignored)
        self.alpha = alpha if alpha is None else check("SELF_TRAINING.ALPHA", alpha)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Read `MODEL.LOSS.*` and, for eq. 6, `SELF_TRAINING.*`."""
        return {
            "kind": cfg.MODEL.LOSS.KIND,
            "ignored": cfg.MODEL.LOSS.IGNORED,
            "alpha": cfg.SELF_TRAINING.ALPHA if cfg.SELF_TRAINING.ENABLED else None,
        }

    def forward(
        self,
        outputs: Sequence[Tensor],
        target: Tensor,
        *,
        seen: Sequence[bool] | None = None,
        ignore_label: int = IGNORE_LABEL,
        pixel_weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            outputs: logits (B, T, h_i, w_i), final map first.
            target: (B, H, W) int64 labels.
            seen: per class, whether stage 1 had it; needed when `alpha` is set.
            ignore_label: id of unlabelled pixels.
            pixel_weights: (B, H, W), see `binary_cross_entropy`.

        Returns:
            `{"loss_sem_seg_0": scalar, ...}`, 0 = final map, all of weight 1.

        Raises:
            ValueError: if a label id is outside [0, T), or `seen` is missing with `alpha` set.
        """
        self._check(outputs[0].shape[1], target, ignore_label)
        weights = eq_6_weights(self.alpha, seen)
        losses = {}
        for i, logits in enumerate(outputs):
            losses[f"loss_sem_seg_{i}"] = self._loss(
                logits,
                target,
                ignore_label=ignore_label,
                weights=weights,
                pixel_weights=pixel_weights,
            )
        return losses

    def _loss(self, logits: Tensor, target: Tensor, **settings: Any) -> Tensor:
        if self.kind == "softmax":
            return softmax_cross_entropy(logits, target, **settings)
        return binary_cross_entropy(logits, target, ignored=self.ignored, **settings)

    @staticmethod
    def _check(num_classes: int, target: Tensor, ignore_label: int) -> None:
        wrong = (target != ignore_label) & ((target < 0) | (target >= num_classes))
        if wrong.any():
            ids = sorted(target[wrong].unique().tolist())[:8]
            raise ValueError(
                f"sem_seg: expected class ids in [0, {num_classes - 1}] or {ignore_label} for "
                f"ignored pixels, got {ids}. The labels and the vocabulary do not belong together."
            )
