"""Losses of a set of masks with classes (Cheng et al., Mask2Former, CVPR 2022, section 3.3).

Shapes: B images, Q queries, K columns of class logits, N matched pairs of a batch, P points.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.losses.mask_losses import bce_loss, dice_loss
from stseg.modeling.losses.mask_points import PointSampler, RandomPoints, read_at, read_targets
from stseg.modeling.losses.mask_targets import MaskTargets, check_targets
from stseg.modeling.losses.matcher import HungarianMatcher, Match

#: Names of what masks learn from.
MASK_LOSSES = ("loss_mask", "loss_dice")


class SetPrediction(NamedTuple):
    """What the queries say in one round.

    Attributes:
        mask_logits: (B, Q, h, w).
        class_logits: (B, Q, K) by the name of its loss. The first takes part in matching, all learn
            from the same pairs.
    """

    mask_logits: Tensor
    class_logits: Mapping[str, Tensor]


class SetCriterion(nn.Module):
    """Matches each round's predictions with the true masks, and compares them."""

    def __init__(
        self,
        *,
        no_object_weight: float | None = 0.1,
        weights: Mapping[str, float] | None = None,
        matcher: HungarianMatcher | None = None,
        points: PointSampler | None = None,
    ):
        """Build the criterion.

        Args:
            no_object_weight: of queries without a pair, which should choose the last column of the
                class logits; in (0, 1] as a rule. None if there is no such column: then only
                matched queries learn a class.
            weights: of losses by their name without the round, 1 where it is not given.
            matcher: of predictions and true masks.
            points: where masks are compared.
        """
        super().__init__()
        self.no_object_weight = no_object_weight
        self.weights = dict(weights or {})
        self.points = points or RandomPoints()
        self.matcher = matcher or HungarianMatcher(points=self.points)

    def forward(
        self, rounds: Sequence[SetPrediction], targets: Sequence[MaskTargets]
    ) -> tuple[dict[str, Tensor], list[Match]]:
        """Compute the losses.

        Args:
            rounds: from first to last.
            targets: one per image; an image may have none.

        Returns:
            Weighted losses: those of `class_logits`, "loss_mask" and "loss_dice" of the last round,
            and with "_0", "_1", ... of those before; and the last round's pairs per image.

        Raises:
            ValueError: if targets and predictions do not belong together, or no loss has a
                weight's name.
            FloatingPointError: if a cost of matching is not finite.
        """
        targets = list(targets)
        logits = next(iter(rounds[-1].class_logits.values()))
        num_classes = logits.shape[-1] - (self.no_object_weight is not None)
        check_targets(targets, len(logits), num_classes)
        self._check_weights(rounds[-1])
        normaliser = mean_count(sum(len(target.labels) for target in targets))
        losses, matches = self._losses(rounds[-1], targets, normaliser)
        for i, prediction in enumerate(rounds[:-1]):
            found, _ = self._losses(prediction, targets, normaliser)
            losses |= {f"{name}_{i}": loss for name, loss in found.items()}
        return losses, matches

    def _check_weights(self, prediction: SetPrediction) -> None:
        names = {*prediction.class_logits, *MASK_LOSSES}
        if unknown := self.weights.keys() - names:
            raise ValueError(
                f"weights: expected names out of {sorted(names)}, got {sorted(unknown)}. A round's "
                "number is not part of them."
            )

    def _losses(
        self, prediction: SetPrediction, targets: list[MaskTargets], normaliser: float
    ) -> tuple[dict[str, Tensor], list[Match]]:
        logits = next(iter(prediction.class_logits.values()))
        matches = self.matcher(logits, prediction.mask_logits, targets)
        with torch.autocast(logits.device.type, enabled=False):
            losses = {
                name: class_loss(x.float(), targets, matches, self.no_object_weight)
                for name, x in prediction.class_logits.items()
            }
            losses |= self._mask_losses(prediction.mask_logits, targets, matches, normaliser)
        return {name: self.weights.get(name, 1.0) * x for name, x in losses.items()}, matches

    def _mask_losses(
        self,
        mask_logits: Tensor,
        targets: list[MaskTargets],
        matches: list[Match],
        normaliser: float,
    ) -> dict[str, Tensor]:
        logits = torch.cat([x[m.queries] for x, m in zip(mask_logits, matches, strict=True)])
        if not len(logits):
            return dict.fromkeys(MASK_LOSSES, logits.float().sum())
        points = self.points.uncertain(logits.detach())
        chosen = [(t, m.targets) for t, m in zip(targets, matches, strict=True)]
        truth, found = read_targets(chosen, points), read_at(logits, points)
        losses = (loss(found, truth, normaliser) for loss in (bce_loss, dice_loss))
        return dict(zip(MASK_LOSSES, losses, strict=True))


def class_loss(
    logits: Tensor,
    targets: Sequence[MaskTargets],
    matches: Sequence[Match],
    no_object_weight: float | None,
) -> Tensor:
    """Cross entropy of queries with the class of their pair, a weighted mean.

    Args:
        logits: (B, Q, K).
        targets: one per image.
        matches: their pairs.
        no_object_weight: see `SetCriterion`.

    Returns:
        Scalar; 0 if no query has anything to learn.
    """
    paired = [t.labels[m.targets] for t, m in zip(targets, matches, strict=True)]
    if no_object_weight is None:
        logits = torch.cat([x[m.queries] for x, m in zip(logits, matches, strict=True)])
        if not len(logits):
            return logits.sum()
        return F.cross_entropy(logits, torch.cat(paired))
    no_object = logits.shape[-1] - 1
    labels = torch.full(logits.shape[:2], no_object, device=logits.device)
    for row, match, ids in zip(labels, matches, paired, strict=True):
        row[match.queries] = ids
    weight = column_weights(no_object, no_object_weight, logits.device)
    return F.cross_entropy(logits.transpose(1, 2), labels, weight)


def column_weights(
    num_classes: int, no_object_weight: float, device: torch.device | str | None = None
) -> Tensor:
    """(num_classes + 1,) float32: 1 for each class, and last the weight of no object."""
    weight = torch.ones(num_classes + 1, device=device)
    weight[-1] = no_object_weight
    return weight


def mean_count(count: int) -> float:
    """Mean over processes of a number of masks, at least 1; every process must ask."""
    counts = comm.all_gather(count)
    return max(sum(counts) / len(counts), 1.0)
