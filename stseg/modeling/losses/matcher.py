"""Which prediction answers for which true mask (Carion et al., DETR, ECCV 2020, section 3.1).

Shapes: B images, Q queries, T true masks, K columns of class logits, P points.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from stseg.modeling.losses.mask_losses import bce_cost, class_cost, dice_cost
from stseg.modeling.losses.mask_points import PointSampler, RandomPoints, read_at, read_truth
from stseg.modeling.losses.mask_targets import MaskTargets


class Match(NamedTuple):
    """Pairs of an image, at most min(Q, T), in the order of queries.

    Attributes:
        queries: (n,) int64 indices.
        targets: (n,) int64 indices of the true masks.
    """

    queries: Tensor
    targets: Tensor


class HungarianMatcher:
    """Assigns the true masks of an image to different queries at the least cost."""

    def __init__(
        self,
        *,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        points: PointSampler | None = None,
    ):
        """Set the weights of the costs; the defaults are published.

        Args:
            class_weight: of the probability of the true class.
            mask_weight: of the binary cross entropy.
            dice_weight: of dice.
            points: where masks are compared.
        """
        self.weights = {"class": class_weight, "mask": mask_weight, "dice": dice_weight}
        self.points = points or RandomPoints()

    @torch.no_grad()
    def __call__(
        self, class_logits: Tensor, mask_logits: Tensor, targets: Sequence[MaskTargets]
    ) -> list[Match]:
        """Match every image of a batch.

        Args:
            class_logits: (B, Q, K), with a column for no object or without.
            mask_logits: (B, Q, h, w).
            targets: one per image; without masks it has no pairs.

        Raises:
            FloatingPointError: if a cost is not finite.
        """
        found = []
        for i, target in enumerate(targets):
            if not len(target.labels):
                none = target.labels.new_zeros(0)
                found.append(Match(none, none))
                continue
            costs = self.costs(class_logits[i], mask_logits[i], target)
            check_costs(costs, f"image {i} of the batch")
            total = torch.stack(list(costs.values())).sum(0)
            pairs = linear_sum_assignment(total.cpu().numpy())
            found.append(Match(*(torch.from_numpy(x).to(mask_logits.device) for x in pairs)))
        return found

    def costs(
        self, class_logits: Tensor, mask_logits: Tensor, target: MaskTargets
    ) -> dict[str, Tensor]:
        """Weighted costs of one image by name, (Q, T) float32 each, whatever autocast says.

        Those of masks are of what is known.
        """
        points = self.points.uniform(mask_logits)
        with torch.autocast(mask_logits.device.type, enabled=False):
            masks, (truth, known) = read_at(mask_logits, points), read_truth(target, points)
            costs = {
                "mask": bce_cost(masks, truth, known),
                "class": class_cost(class_logits.float(), target.labels),
                "dice": dice_cost(masks, truth, known),
            }
        return {name: self.weights[name] * cost for name, cost in costs.items()}


def check_costs(costs: dict[str, Tensor], where: str) -> None:
    """Refuse costs that no assignment can be made of.

    Raises:
        FloatingPointError: names the first such cost, and `where` it is.
    """
    for name, cost in costs.items():
        bad = cost[~cost.isfinite()]
        if len(bad):
            raise FloatingPointError(
                f"matching: expected finite costs, got {bad[0].item()} in {len(bad)} of "
                f"{cost.numel()} {name} costs of {where}. The network's logits overflowed. Lower "
                "SOLVER.BASE_LR, or train without SOLVER.AMP.ENABLED."
            )
