"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021, section 4.1).

Plain PyTorch in place of the compiled operation: one `grid_sample` per level and point, added up as
it comes, so that no tensor of all samples is held in evaluation.

Shapes: B images, N queries, C channels, S cells of all levels together, K points per level.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DeformableAttention(nn.Module):
    """Each head looks at a few points of every level, at distances that it reads off the query."""

    def __init__(
        self, dim: int = 256, *, num_heads: int = 8, num_levels: int = 3, num_points: int = 4
    ):
        """Build the layer.

        Args:
            dim: channels C.
            num_heads: attention heads, a divisor of C.
            num_levels: maps that are looked at.
            num_points: points K per head and level.

        Raises:
            ValueError: if `num_heads` does not divide `dim`.
        """
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads: expected a divisor of dim ({dim}), got {num_heads}.")
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(dim, 2 * samples)
        self.attention_weights = nn.Linear(dim, samples)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._init_weights()

    def _init_weights(self) -> None:
        """Start with equal weights, point k of a head k cells away in a direction of its own."""
        angle = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1)[:, None]
        offsets = (direction[:, None, None] * steps).expand(-1, self.num_levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)

    def forward(
        self, query: Tensor, reference: Tensor, cells: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Gather what the queries point at, in float32 whatever autocast says.

        Args:
            query: (B, N, C).
            reference: (N, 2), where each query is: x and y, [0, 1] from border to border of every
                level. Offsets, in cells of their level, start there; beyond a border there are
                zeros.
            cells: (B, S, C), the levels' maps, row by row, one after the other.
            sizes: (h, w) of each level.

        Returns:
            (B, N, C) float32.
        """
        with torch.autocast(query.device.type, enabled=False):
            return self._attend(query.float(), reference.float(), cells.float(), sizes)

    def _attend(
        self, query: Tensor, reference: Tensor, cells: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> Tensor:
        offsets, weights = self._offsets(query), self._weights(query)
        areas = [h * w for h, w in sizes]
        values = self.value_proj(cells).transpose(1, 2)
        values = values.reshape(-1, values.shape[1] // self.num_heads, values.shape[2])
        found: Tensor | None = None
        for level, value in enumerate(values.split(areas, dim=-1)):
            h, w = sizes[level]
            grid = 2 * reference - 1 + offsets[level] * offsets.new_tensor([2 / w, 2 / h])
            for point in range(self.num_points):
                sampled = F.grid_sample(
                    value.unflatten(-1, (h, w)), grid[:, point, None], align_corners=False
                )[:, :, 0]
                weight = weights[level, :, point, None]
                found = sampled * weight if found is None else found.addcmul(sampled, weight)
        assert found is not None
        return self.output_proj(found.reshape(len(query), -1, query.shape[1]).transpose(1, 2))

    def _offsets(self, query: Tensor) -> Tensor:
        """(levels, B heads, K, N, 2) in cells."""
        shape = self.num_heads, self.num_levels, self.num_points, 2
        offsets = self.sampling_offsets(query).unflatten(-1, shape)
        return offsets.permute(3, 0, 2, 4, 1, 5).flatten(1, 2)

    def _weights(self, query: Tensor) -> Tensor:
        """(levels, B heads, K, N), 1 together for a head and query."""
        weights = self.attention_weights(query).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        weights = weights.unflatten(-1, (self.num_levels, self.num_points))
        return weights.permute(3, 0, 2, 4, 1).flatten(1, 2)


class DeformableLayer(nn.Module):
    """Post-norm layer of an encoder: deformable attention, feed-forward, no dropout."""

    def __init__(
        self,
        dim: int = 256,
        *,
        num_heads: int = 8,
        num_levels: int = 3,
        num_points: int = 4,
        ffn_dim: int = 1024,
    ):
        """Build the layer; `ffn_dim` is the hidden width of the feed-forward part."""
        super().__init__()
        self.attention = DeformableAttention(
            dim, num_heads=num_heads, num_levels=num_levels, num_points=num_points
        )
        self.attention_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.ReLU(), nn.Linear(ffn_dim, dim))
        self.ffn_norm = nn.LayerNorm(dim)
        for layer in (self.ffn[0], self.ffn[2]):
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self, x: Tensor, position: Tensor, reference: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Let every cell of every level look at the others.

        Args:
            x: (B, S, C).
            position: (S, C), added to what asks, not to what is found.
            reference: (S, 2), see `DeformableAttention.forward`.
            sizes: (h, w) of each level.

        Returns:
            (B, S, C).
        """
        x = self.attention_norm(x + self.attention(x + position, reference, x, sizes))
        return self.ffn_norm(x + self.ffn(x))


def cell_centres(
    sizes: Sequence[tuple[int, int]], device: torch.device | str | None = None
) -> Tensor:
    """(S, 2) float32: x and y of the middle of each cell, [0, 1] from border to border."""
    centres = []
    for h, w in sizes:
        y = (torch.arange(h, device=device) + 0.5) / h
        x = (torch.arange(w, device=device) + 0.5) / w
        centres.append(torch.stack([x.expand(h, -1), y[:, None].expand(-1, w)], dim=-1))
    return torch.cat([part.flatten(0, 1) for part in centres])
