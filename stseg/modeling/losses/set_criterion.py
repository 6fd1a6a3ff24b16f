"""Losses of a set of masks with classes (Cheng et al., Mask2Former, CVPR 2022, section 3.3).

Shapes: B images, Q queries, K columns of class logits, N matched pairs of a batch, P points.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from detectron2.utils import comm
from torch import Tensor, nn

from stseg.config import check
from stseg.modeling.losses.class_loss import class_loss, known_shares, pair_weights
from stseg.modeling.losses.criterion import eq_6_weights
from stseg.modeling.losses.mask_losses import bce_loss, dice_loss
from stseg.modeling.losses.mask_points import (
    PointSampler,
    RandomPoints,
    read_at,
    read_targets,
    read_weights,
)
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
    """Matches each round's predictions with the true masks, and compares them.

    Where a target says what is known of its image, the rest teaches nothing: masks are matched and
    compared at known points, and a query without a pair learns to choose no object with the share
    of its mask that lies on known pixels (STSeg, section 2.3, for sets of masks). Where it says how
    much each pixel counts, points have that weight, and all losses of a pair the mean in its mask;
    matching does not ask for it.
    """

    def __init__(
        self,
        *,
        no_object_weight: float | None = 0.1,
        weights: Mapping[str, float] | None = None,
        matcher: HungarianMatcher | None = None,
        points: PointSampler | None = None,
        alpha: float | None = None,
    ):
        """Build the criterion.

        Args:
            no_object_weight: of queries without a pair, which should choose the last column of the
                class logits; in (0, 1] as a rule. None if there is no such column: then only
                matched queries learn a class.
            weights: of losses by their name without the round, 1 where it is not given.
            matcher: of predictions and true masks.
            points: where masks are compared.
            alpha: weight of seen classes in [0, 1], 1 - alpha for unseen ones (STSeg, eq. 6), on
                all losses of the pairs of a class; None weighs all alike. Matching, and queries
                without a pair, do not ask for it.

        Raises:
            ValueError: if `alpha` is out of its range.
        """
        super().__init__()
        self.no_object_weight = no_object_weight
        self.weights = dict(weights or {})
        self.points = points or RandomPoints()
        self.matcher = matcher or HungarianMatcher(points=self.points)
        self.alpha = alpha if alpha is None else check("SELF_TRAINING.ALPHA", alpha)

    def forward(
        self,
        rounds: Sequence[SetPrediction],
        targets: Sequence[MaskTargets],
        *,
        seen: Sequence[bool] | None = None,
    ) -> tuple[dict[str, Tensor], list[Match]]:
        """Compute the losses.

        Args:
            rounds: from first to last.
            targets: one per image; an image may have none.
            seen: per class, whether stage 1 had it; needed when `alpha` is set.

        Returns:
            Weighted losses: those of `class_logits`, "loss_mask" and "loss_dice" of the last round,
            and with "_0", "_1", ... of those before; and the last round's pairs per image.

        Raises:
            ValueError: if targets and predictions do not belong together, no loss has a weight's
                name, or `seen` is missing with `alpha` set.
            FloatingPointError: if a cost of matching is not finite.
        """
        targets = list(targets)
        logits = next(iter(rounds[-1].class_logits.values()))
        num_classes = logits.shape[-1] - (self.no_object_weight is not None)
        check_targets(targets, len(logits), num_classes)
        self._check_weights(rounds[-1])
        class_weights = eq_6_weights(self.alpha, seen)
        if class_weights is not None:
            class_weights = class_weights.to(logits.device)
        normaliser = mean_count(sum(len(target.labels) for target in targets))
        losses, matches = self._losses(rounds[-1], targets, class_weights, normaliser)
        for i, prediction in enumerate(rounds[:-1]):
            found, _ = self._losses(prediction, targets, class_weights, normaliser)
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
        self,
        prediction: SetPrediction,
        targets: list[MaskTargets],
        class_weights: Tensor | None,
        normaliser: float,
    ) -> tuple[dict[str, Tensor], list[Match]]:
        logits = next(iter(prediction.class_logits.values()))
        matches = self.matcher(logits, prediction.mask_logits, targets)
        with torch.autocast(logits.device.type, enabled=False):
            shares = known_shares(prediction.mask_logits, targets)
            losses = {
                name: class_loss(
                    x.float(),
                    targets,
                    matches,
                    self.no_object_weight,
                    class_weights=class_weights,
                    shares=shares,
                )
                for name, x in prediction.class_logits.items()
            }
            chosen = [(t, m.targets) for t, m in zip(targets, matches, strict=True)]
            pairs = zip(prediction.mask_logits, matches, strict=True)
            logits = torch.cat([x[m.queries] for x, m in pairs])
            weights = pair_weights(targets, matches)
            if class_weights is not None:
                labels = torch.cat([target.labels[which] for target, which in chosen])
                of_class = class_weights[labels]
                weights = of_class if weights is None else weights * of_class
            losses |= self._mask_losses(logits, chosen, weights, normaliser)
        return {name: self.weights.get(name, 1.0) * x for name, x in losses.items()}, matches

    def _mask_losses(
        self,
        logits: Tensor,
        targets: list[tuple[MaskTargets, Tensor]],
        weights: Tensor | None,
        normaliser: float,
    ) -> dict[str, Tensor]:
        """Of the masks (N, h, w) of all pairs, and their targets as `read_targets` takes them."""
        if not len(logits):
            return dict.fromkeys(MASK_LOSSES, logits.float().sum())
        points = self.points.uncertain(logits.detach())
        truth, known = read_targets(targets, points)
        found, sure = read_at(logits, points), read_weights(targets, points)
        losses = (
            loss(found, truth, normaliser, known=known, sure=sure, weights=weights)
            for loss in (bce_loss, dice_loss)
        )
        return dict(zip(MASK_LOSSES, losses, strict=True))


def mean_count(count: int) -> float:
    """Mean over processes of a number of masks, at least 1; every process must ask."""
    counts = comm.all_gather(count)
    return max(sum(counts) / len(counts), 1.0)
