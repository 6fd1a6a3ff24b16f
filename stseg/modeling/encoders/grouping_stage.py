"""A stage of the grouping transformer: attention, prototypes, groups (PGSeg, arXiv 2310.19001).

Prototypes are estimated from the tokens that enter the stage, before its blocks, and the residual
made of them is added to those that leave the blocks. Without them it is GroupViT's (CVPR 2022).

Shapes: B images, L tokens, S groups of the stage, D channels.
"""

import torch
from torch import Tensor, nn

from stseg.modeling.layers import Grouped, GroupingBlock, ImagePrototypes, TokenMixer


class GroupingStage(nn.Module):
    """Blocks over tokens and group tokens, then the tokens become groups."""

    def __init__(
        self,
        blocks: nn.Sequential,
        prototypes: ImagePrototypes | None,
        *,
        width: int,
        count: int,
        num_heads: int,
        carried: int = 0,
    ):
        """Build the rest.

        Args:
            blocks: of the stage's width.
            prototypes: S of width D, or None.
            width: channels D.
            count: group tokens of the stage, and groups S that it gives.
            num_heads: attention heads of the grouping.
            carried: group tokens of the stage before, 0 for none. They start this one's, which are
                0 but for them.
        """
        super().__init__()
        self.group_tokens = nn.Parameter(torch.zeros(1, count, width))
        if not carried:  # all alike would stay alike
            nn.init.trunc_normal_(self.group_tokens, std=0.02)
        self.carry = TokenMixer(width, carried, count) if carried else None
        self.blocks = blocks
        self.prototypes = prototypes
        self.grouping = GroupingBlock(width, num_heads=num_heads, count=count, out_count=count)

    def forward(
        self, tokens: Tensor, carried: Tensor | None, noise: Tensor | None
    ) -> tuple[Grouped, Tensor | None, Tensor]:
        """Run the stage.

        Args:
            tokens: (B, L, D).
            carried: (B, groups before, D), group tokens that the stage before gives; None for
                the first.
            noise: (B, S, L), see `GroupingBlock`.

        Returns:
            The groups, (B, S, D) prototypes or None, and (B, S, D) group tokens after the blocks.
        """
        groups = self.group_tokens.expand(len(tokens), -1, -1)
        if carried is not None:
            groups = groups + self.carry(carried)
        union = self.blocks(torch.cat((tokens, groups), dim=1))
        mixed, groups = union.split((tokens.shape[1], groups.shape[1]), dim=1)
        prototypes = None
        if self.prototypes is not None:
            residual, prototypes = self.prototypes(tokens)
            mixed = mixed + residual
        return self.grouping(mixed, groups, noise), prototypes, groups
