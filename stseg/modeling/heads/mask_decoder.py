"""Masked decoder with queries (Cheng et al., Mask2Former, CVPR 2022, section 3.2.1).

EBSeg (CVPR 2024, section 3.3) adds an embedding of every query's region and a bias for CLIP's
attention; both can be left out.

Shapes: B images, Q queries, C channels, E channels of class vectors, H heads of CLIP, h x w cells
of the mask features, S cells of a coarser map. A round is what is read off the queries before the
first layer and after each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.layers import (
    AttentionBias,
    QueryLayer,
    RegionEmbedding,
    build_mlp,
    sine_embedding,
)


class QueryRound(NamedTuple):
    """What is read off the queries at one depth.

    Attributes:
        mask_logits: (B, Q, h, w), above 0 inside.
        queries: (B, Q, C), normalised.
        class_embeds: (B, Q, E), all of one length; None for a decoder without.
        attention_bias: (B, H, Q, h, w), or pooled; None for a decoder without.
    """

    mask_logits: Tensor
    queries: Tensor
    class_embeds: Tensor | None
    attention_bias: Tensor | None


class MaskDecoder(nn.Module):
    """Queries look at three maps in turn, each only inside the mask it had before."""

    def __init__(
        self,
        *,
        dim: int = 256,
        mask_dim: int | None = None,
        num_queries: int = 100,
        num_layers: int = 9,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        num_levels: int = 3,
        class_dim: int = 0,
        clip_heads: int = 0,
    ):
        """Build the decoder; the defaults are the published sizes, without EBSeg's additions.

        Args:
            dim: channels C of queries and maps, a multiple of 4 and of `num_heads`.
            mask_dim: channels of the mask features, C if not given.
            num_queries: queries Q.
            num_layers: layers, one less than rounds.
            num_heads: attention heads.
            ffn_dim: hidden width of the feed-forward parts.
            num_levels: maps that the layers look at in turn.
            class_dim: channels E of the class embedding, 0 for none.
            clip_heads: heads H of the attention bias, 0 for none.
        """
        super().__init__()
        mask_dim = mask_dim or dim
        self.query_feats = nn.Embedding(num_queries, dim)
        self.query_positions = nn.Embedding(num_queries, dim)
        self.level_embed = nn.Embedding(num_levels, dim)
        self.layers = nn.ModuleList(
            QueryLayer(dim, num_heads=num_heads, ffn_dim=ffn_dim) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.mask_mlp = build_mlp(dim, dim, dim, mask_dim)
        self.region_embedding = (
            RegionEmbedding(dim, class_dim, mask_dim=mask_dim) if class_dim else None
        )
        self.attention_bias = AttentionBias(mask_dim, clip_heads) if clip_heads else None

    def forward(
        self,
        mask_features: Tensor,
        maps: Sequence[Tensor],
        *,
        every_round: bool = True,
        bias_size: tuple[int, int] | None = None,
    ) -> list[QueryRound]:
        """Decode masks.

        Args:
            mask_features: (B, mask_dim, h, w).
            maps: (B, C, ., .), one per level, coarsest first.
            every_round: for losses at every depth. Without, earlier rounds compute nothing but
                what the layers need, at the size they need it: the same up to rounding, as resizing
                and the product with a query may change places.
            bias_size: see `AttentionBias.forward`.

        Returns:
            Rounds from first to last, one more than layers, or the last alone.
        """
        levels = [self._level(i, x) for i, x in enumerate(maps)]
        sizes = [x.shape[-2:] for x in maps]
        small = [] if every_round else [_resize(mask_features, size) for size in sizes]
        bias_hidden = None
        if self.attention_bias is not None:
            bias_hidden = self.attention_bias.hidden(mask_features)
        x = self.query_feats.weight.expand(len(mask_features), -1, -1)
        rounds = []
        for i, layer in enumerate(self.layers):
            level, queries = i % len(maps), self.norm(x)
            if every_round:
                rounds.append(self._read(queries, mask_features, bias_hidden, bias_size))
                logits = _resize(rounds[-1].mask_logits.detach(), sizes[level])
            else:
                logits = _products(self.mask_mlp(queries), small[level])
            x = layer(x, self.query_positions.weight, *levels[level], hidden_cells(logits))
        rounds.append(self._read(self.norm(x), mask_features, bias_hidden, bias_size))
        return rounds

    def _level(self, i: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cells of a map with their position, and without, (B, S, C) each."""
        position = sine_embedding(x.shape[-2:], x.shape[1], device=x.device).to(x.dtype)
        values = x.flatten(2).transpose(1, 2) + self.level_embed.weight[i]
        return values + position.flatten(2).transpose(1, 2), values

    def _read(
        self,
        queries: Tensor,
        mask_features: Tensor,
        bias_hidden: Tensor | None,
        bias_size: tuple[int, int] | None,
    ) -> QueryRound:
        mask_embeds = self.mask_mlp(queries)
        logits = _products(mask_embeds, mask_features)
        embeds = bias = None
        if self.region_embedding is not None:
            embeds = self.region_embedding(queries, mask_features, logits)
        if self.attention_bias is not None and bias_hidden is not None:
            height, width = mask_features.shape[-2:]
            bias = self.attention_bias(mask_embeds, bias_hidden, (height, width), bias_size)
        return QueryRound(logits, queries, embeds, bias)


def hidden_cells(logits: Tensor) -> Tensor:
    """Cells outside a query's mask; a query without any inside sees everything.

    Args:
        logits: (B, Q, h, w) at the size of the map that is looked at.

    Returns:
        (B, Q, h w) bool.
    """
    hidden = logits.flatten(2) < 0
    return hidden & ~hidden.all(-1, keepdim=True)


def _products(embeds: Tensor, features: Tensor) -> Tensor:
    """(B, Q, C) and (B, C, h, w) to (B, Q, h, w)."""
    return torch.matmul(embeds, features.flatten(2)).unflatten(-1, features.shape[-2:])


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, (size[0], size[1]), mode="bilinear", align_corners=False)
