"""How queries look at the patches of a picture: by a bias, and without seeing one another.

Shapes: B images, Q queries, h and w cells, L = h * w patches, d channels of a head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def pool_bias(bias: Tensor, grid: Sequence[int]) -> Tensor:
    """The strongest bias within each cell of a grid.

    Args:
        bias: (B, heads, Q, H, W).
        grid: (h, w).

    Returns:
        (B, heads, Q, h, w).
    """
    if tuple(bias.shape[-2:]) == tuple(grid):
        return bias
    pooled = F.adaptive_max_pool2d(bias.flatten(1, 2), tuple(grid))
    return pooled.unflatten(1, bias.shape[1:3])


def look(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Attention of queries to themselves and to the patches.

    Args:
        q: (B, heads, Q, d), the queries' own; or with 1 for Q if they are all alike.
        k: likewise.
        v: likewise.
        keys: (B, heads, L, d) of the patches.
        values: likewise.
        bias: (B, heads, Q, L), or with 1 for heads, on the scores with patches.

    Returns:
        (B, heads, Q, d).
    """
    scale = q.shape[-1] ** -0.5
    to_patches = scale * q @ keys.mT + bias
    to_itself = scale * (q * k).sum(-1, keepdim=True)
    to_itself = to_itself.expand(*to_patches.shape[:-1], 1).to(to_patches.dtype)
    weights = torch.cat([to_itself, to_patches], dim=-1).softmax(-1)
    return weights[..., :1] * v + weights[..., 1:].to(values.dtype) @ values
