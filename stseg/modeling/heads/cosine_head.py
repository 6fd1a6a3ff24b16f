"""A head without a decoder: cells say what they are most similar to, and nothing has to be learnt.

As MaskCLIP (Zhou, Loy and Dai, ECCV 2022, section 3.1), whose answers are as coarse as the cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from stseg.modeling.heads.cost_volume import CostVolume


@SEM_SEG_HEADS_REGISTRY.register()
class CosineHead(nn.Module):
    """Mean similarity over the templates, scaled and moved: two numbers, which training may tune.

    Attributes:
        scale: of a similarity.
        offset: similarity at which a class is as likely as not.
    """

    @configurable
    def __init__(self, *, scale: float = 30.0, offset: float = 0.15):
        """Set the numbers that hold before training.

        Args:
            scale: above 0.
            offset: in [-1, 1].
        """
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.offset = nn.Parameter(torch.tensor(offset))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """It has no keys."""
        del cfg, input_shape
        return {}

    def forward(
        self,
        cost: Tensor | CostVolume,
        guidance: Sequence[Tensor],
        class_embeds: Tensor | None = None,
    ) -> list[Tensor]:
        """Score every class at every cell.

        Args:
            cost: (B, P, T, h, w) cost volume, or its factors, of which the volume is not made.
            guidance: not looked at.
            class_embeds: likewise.

        Returns:
            One map of logits, `[(B, T, h, w)]`.
        """
        del guidance, class_embeds
        similar = cost.mean() if isinstance(cost, CostVolume) else cost.mean(1)
        return [self.scale * (similar - self.offset)]
