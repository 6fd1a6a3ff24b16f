"""CLIP's maps added to the spatial encoder's (Shan et al., EBSeg, CVPR 2024, section 3.2).

Shapes: B images, C channels, h x w cells.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.layers.convnext_block import ChannelLayerNorm


class NormedProjection(nn.Sequential):
    """Layer norm over the channels of every cell, then a 1x1 convolution."""

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__(ChannelLayerNorm(in_dim), nn.Conv2d(in_dim, out_dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, h, w)."""
        norm, project = self
        return project(norm(x.movedim(1, -1)).movedim(-1, 1))


class MapFusion(nn.Module):
    """Adds to some of an encoder's maps what another encoder found, projected and resized."""

    def __init__(
        self,
        in_dims: Sequence[int],
        out_dim: int,
        *,
        names: Sequence[str] = ("res3", "res4", "res5"),
    ):
        """Build one projection per map.

        Args:
            in_dims: channels of what is added, a number per name.
            out_dim: channels of the maps it is added to.
            names: of those maps; all others stay as they are.
        """
        super().__init__()
        self.names = tuple(names)
        self.projections = nn.ModuleList(
            NormedProjection(c, out_dim) for c, _ in zip(in_dims, self.names, strict=True)
        )

    def forward(self, maps: Mapping[str, Tensor], added: Sequence[Tensor]) -> dict[str, Tensor]:
        """Add.

        Args:
            maps: (B, C_out, h_i, w_i) by name.
            added: (B, C_in, ., .) of any size, one per name; resized (bilinear) after projection.

        Returns:
            All of `maps`, those named with something added.
        """
        fused = dict(maps)
        for name, projection, x in zip(self.names, self.projections, added, strict=True):
            y = projection(x)
            size = maps[name].shape[-2:]
            fused[name] = maps[name] + F.interpolate(y, size, mode="bilinear", align_corners=False)
        return fused
