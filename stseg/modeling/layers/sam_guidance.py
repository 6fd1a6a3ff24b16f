"""SAM's features beside CLIP's stage maps, which guide the decoder (paper, section 2.3).

The paper guides with "multi-scale features of both encoders" and gives no formula: here SAM's map
is projected to the width of each stage map, resized to its cells and added.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from stseg.modeling.layers.dea import align_map


class SamGuidance(nn.Module):
    """One projection per stage map, zero at the start, so that step 0 is as without."""

    def __init__(self, sam_dim: int, channels: Mapping[str, int], *, antialias: bool = False):
        """Build the projections.

        Args:
            sam_dim: width S of SAM's map.
            channels: of each stage map that is added to, by name, such as "res4".
            antialias: see `align_map`.
        """
        super().__init__()
        self.antialias = antialias
        self.projections = nn.ModuleDict(
            {name: nn.Conv2d(sam_dim, width, 1) for name, width in channels.items()}
        )
        for projection in self.projections.values():
            nn.init.zeros_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, maps: Mapping[str, Tensor], sam_feats: Tensor) -> dict[str, Tensor]:
        """Add SAM's features.

        Args:
            maps: stage maps (B, C, h, w) by name, of any sizes; those without a projection are
                not looked at.
            sam_feats: (B, S, h', w').

        Returns:
            The sums, by name.
        """
        return {
            name: maps[name]
            + align_map(projection(sam_feats), maps[name].shape[-2:], antialias=self.antialias)
            for name, projection in self.projections.items()
        }
