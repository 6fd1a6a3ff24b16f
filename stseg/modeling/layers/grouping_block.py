"""Tokens become a few groups: each token goes to one (GroupViT, CVPR 2022, as PGSeg has it).

Shapes: B images, L tokens, G group tokens, S groups that come out, D channels.
"""

from typing import NamedTuple

import torch
from segment_anything.modeling.transformer import Attention
from timm.layers import Mlp
from torch import Tensor, nn


class TokenMixer(nn.Module):
    """A norm, then an MLP along the axis of the tokens, which changes their number."""

    def __init__(self, dim: int, count: int, out_count: int):
        """Build the layers; half as wide as a token between them.

        Args:
            dim: channels D, which do not mix.
            count: tokens that come in.
            out_count: tokens that go out.
        """
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mlp = Mlp(count, dim // 2, out_count)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, D) to (B, other number of tokens, D)."""
        return self.mlp(self.norm(x).transpose(1, 2)).transpose(1, 2)


class CrossBlock(nn.Module):
    """Groups look at the tokens; the norm comes last, neither side is normed before."""

    def __init__(self, dim: int, num_heads: int):
        """Build the layers.

        Args:
            dim: channels D.
            num_heads: attention heads, a divisor of D.
        """
        super().__init__()
        self.attention = Attention(dim, num_heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.norm_out = nn.LayerNorm(dim)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """(B, S, D) groups and (B, L, D) tokens to (B, S, D) groups."""
        x = queries + self.attention(queries, tokens, tokens)
        return self.norm_out(x + self.mlp(self.norm_mlp(x)))


class Assignment(nn.Module):
    """Every token goes to one group, by a choice that has the gradient of a softmax."""

    def __init__(self, dim: int):
        """Build projections of D channels, of one head."""
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(
        self, centres: Tensor, tokens: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gather the tokens of each group.

        Args:
            centres: (B, S, D).
            tokens: (B, L, D).
            noise: (B, S, L), added to the scores for the choice in training; drawn from the Gumbel
                distribution without it. In evaluation there is none.

        Returns:
            (B, S, D) groups, (B, S, L) soft map and hard map, see `Grouped`.
        """
        scores = self.q_proj(centres) @ self.k_proj(tokens).transpose(1, 2)
        scores = scores.float() * centres.shape[-1] ** -0.5
        soft = shares = scores.softmax(dim=1)
        if self.training:
            noise = gumbel_noise(scores) if noise is None else noise
            shares = (scores + noise).softmax(dim=1)
        chosen = shares.argmax(dim=1, keepdim=True)
        hard = torch.zeros_like(shares).scatter(1, chosen, 1.0) + (shares - shares.detach())
        # The 1 leaves a group without tokens at its centre, whose mean would not exist.
        weights = hard / (hard.sum(dim=2, keepdim=True) + 1.0)
        values = self.v_proj(tokens)
        return centres + self.out_proj(weights.to(values.dtype) @ values), soft, hard


def gumbel_noise(scores: Tensor) -> Tensor:
    """Draws from Gumbel(0, 1) with torch's generator, of the scores' shape and type."""
    return -torch.empty_like(scores).exponential_().log()


class Grouped(NamedTuple):
    """What a grouping block gives.

    Attributes:
        tokens: (B, S, D), one for each group.
        centres: (B, S, D), the groups before they get their tokens.
        soft: (B, S, L) float32, shares of a token in the groups, which sum to 1, without noise.
        hard: (B, S, L) float32, 1 for the group that a token goes to and 0 for others, after
            noise; its gradient is the softmax's.
    """

    tokens: Tensor
    centres: Tensor
    soft: Tensor
    hard: Tensor


class GroupingBlock(nn.Module):
    """Group tokens find centres among the tokens, and the centres get the tokens."""

    def __init__(self, dim: int, *, num_heads: int, count: int, out_count: int):
        """Build the parts.

        Args:
            dim: channels D.
            num_heads: of the attention of groups to tokens, a divisor of D.
            count: group tokens G that come in.
            out_count: groups S that come out.
        """
        super().__init__()
        self.mix = TokenMixer(dim, count, out_count)
        self.norm_queries = nn.LayerNorm(dim)
        self.norm_tokens = nn.LayerNorm(dim)
        self.cross = CrossBlock(dim, num_heads)
        self.assign = Assignment(dim)
        self.norm_out = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, tokens: Tensor, groups: Tensor, noise: Tensor | None = None) -> Grouped:
        """Group the tokens; in training with noise on the choice.

        Args:
            tokens: (B, L, D).
            groups: (B, G, D), group tokens.
            noise: (B, S, L) float32, used in training only; drawn where not given.
        """
        tokens = self.norm_tokens(tokens)
        centres = self.cross(self.norm_queries(self.mix(groups)), tokens)
        gathered, soft, hard = self.assign(centres, tokens, noise)
        return Grouped(gathered + self.mlp(self.norm_out(gathered)), centres, soft, hard)
