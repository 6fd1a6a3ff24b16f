"""Where a cell lies, as sines and cosines (DETR, Carion et al., ECCV 2020, appendix A.4)."""

import math

import torch
from torch import Tensor


def sine_embedding(
    size: tuple[int, int],
    dim: int,
    *,
    device: torch.device | str | None = None,
    temperature: float = 10000.0,
) -> Tensor:
    """Encode the cells of a map, rows in the first half of the channels, columns in the second.

    Args:
        size: (h, w) cells; each side counts as 2 pi long, whatever its number of cells.
        dim: channels C, a multiple of 4.
        device: where the result lies.
        temperature: longest wave length, in units of 2 pi.

    Returns:
        (1, C, h, w) float32 in [-1, 1].

    Raises:
        ValueError: if `dim` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"dim: expected a multiple of 4, sine and cosine of two sides, got {dim}.")
    height, width = size
    rows, cols = (_encode(side, dim // 2, temperature, device) for side in size)
    spread = rows[:, :, None].expand(-1, -1, width), cols[:, None].expand(-1, height, -1)
    return torch.cat(spread)[None]


def _encode(side: int, dim: int, temperature: float, device: torch.device | str | None) -> Tensor:
    """(dim, side): sine and cosine of the same wave length are neighbours."""
    place = torch.arange(1, side + 1, dtype=torch.float32, device=device)
    place = place / (side + 1e-6) * (2 * math.pi)
    exponent = torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim
    angle = place / temperature ** exponent[:, None]
    return torch.stack([angle.sin(), angle.cos()], dim=1).flatten(0, 1)
