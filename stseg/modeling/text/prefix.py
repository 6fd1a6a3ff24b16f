"""Prompts as a tree of tokens, so that a beginning they share is computed once.

Attention is causal: what a token becomes depends on the tokens before it only. "a photo of a cat."
and "a photo of a dog." share five tokens with the start token; of 80 templates under many names
two thirds of all tokens are such repetitions.

Shapes: N prompts, L tokens of the longest, M nodes of the tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class _Rows:
    """G prompts of one length whose last n tokens are not in the prompt above them.

    Attributes:
        keys: (G, length) int64, the nodes of each prompt.
        queries: (G, n) int64, the last n of them: those that begin here.
        mask: (n, length) bool, True where a query may look.
        prompts: (G,) int64, which prompts these are.
    """

    keys: Tensor
    queries: Tensor
    mask: Tensor
    prompts: Tensor

    def to(self, device: torch.device) -> _Rows:
        tensors = (self.keys, self.queries, self.mask, self.prompts)
        return _Rows(*(tensor.to(device) for tensor in tensors))


@dataclass(frozen=True)
class PrefixTree:
    """Every distinct beginning of some prompts as one node.

    Attributes:
        tokens: (M,) int64 token ids.
        positions: (M,) int64 in [0, L).
        ends: (N,) int64, the node of each prompt's end token.
        rows: the prompts, grouped by length and by how much of them is new.
    """

    tokens: Tensor
    positions: Tensor
    ends: Tensor
    rows: tuple[_Rows, ...]

    @classmethod
    def grow(cls, tokens: Tensor, device: torch.device | str = "cpu") -> PrefixTree:
        """Find what neighbours share; all is found where prompts are in lexicographic order.

        Args:
            tokens: (N, context) int64 on the CPU; a prompt ends at its highest id, as CLIP has it.
            device: where the tree shall be.
        """
        ends = tokens.argmax(dim=1)
        tokens = trim(tokens)
        inside = tokens >= 0
        new = inside.clone()
        new[1:] &= ~(tokens[1:] == tokens[:-1]).cumprod(dim=1).bool()
        cells = new.flatten().nonzero()[:, 0]
        nodes = torch.zeros(tokens.numel(), dtype=torch.int64)
        nodes[cells] = torch.arange(len(cells))
        # A cell that is not new is the latest new one above it.
        nodes = nodes.view_as(tokens).cummax(dim=0).values
        shapes = torch.stack([ends + 1, new.sum(dim=1)], dim=1)
        kinds, kind = shapes.unique(dim=0, return_inverse=True)
        rows = []
        for i, (length, count) in enumerate(kinds.tolist()):
            prompts = (kind == i).nonzero()[:, 0]
            keys = nodes[prompts, :length]
            mask = torch.ones(count, length, dtype=torch.bool).tril(length - count)
            rows.append(_Rows(keys, keys[:, length - count :], mask, prompts).to(device))
        return cls(
            tokens.flatten()[cells].to(device),
            (cells % tokens.shape[1]).to(device),
            nodes[torch.arange(len(ends)), ends].to(device),
            tuple(rows),
        )

    def attend(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """Causal attention of every node to the nodes that lead to it.

        Args:
            query: (M, C).
            key: (M, C).
            value: (M, C).
            heads: divides C.

        Returns:
            (M, C).
        """
        out = torch.empty_like(query)
        for rows in self.rows:
            if rows.queries.numel():
                q, k, v = _split(heads, query[rows.queries], key[rows.keys], value[rows.keys])
                seen = F.scaled_dot_product_attention(q, k, v, attn_mask=rows.mask)
                out[rows.queries] = seen.transpose(1, 2).flatten(2)
        return out

    def attend_at_ends(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """As `attend`, of the end tokens alone.

        Args:
            query: (N, C), one per prompt.
            key: (M, C).
            value: (M, C).
            heads: divides C.

        Returns:
            (N, C).
        """
        out = torch.empty_like(query)
        for rows in self.rows:
            q, k, v = _split(heads, query[rows.prompts, None], key[rows.keys], value[rows.keys])
            seen = F.scaled_dot_product_attention(q, k, v)
            out[rows.prompts] = seen.transpose(1, 2).flatten(1)
        return out


def trim(tokens: Tensor) -> Tensor:
    """Cut (N, context) ids after the longest prompt; -1 stands behind the end of the others."""
    ends = tokens.argmax(dim=1)
    tokens = tokens[:, : int(ends.max()) + 1]
    return tokens.masked_fill(torch.arange(tokens.shape[1]) > ends[:, None], -1)


def lexicographic_order(tokens: Tensor) -> Tensor:
    """Order (N,) in which prompts (N, context) that begin alike are neighbours."""
    columns = trim(tokens).T.flip(0)
    order = torch.arange(tokens.shape[0])
    for column in columns:
        order = order[column[order].argsort(stable=True)]
    return order


def _split(heads: int, *tensors: Tensor) -> list[Tensor]:
    """(G, l, C) to (G, heads, l, C / heads)."""
    return [tensor.unflatten(-1, (heads, -1)).transpose(1, 2) for tensor in tensors]
