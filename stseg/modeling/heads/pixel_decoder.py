"""Pixel decoder with deformable attention (Cheng et al., Mask2Former, CVPR 2022, section 3.2.2).

Shapes: B images, C channels, H x W pixels of the picture, S cells of the three coarse levels.
"""

from collections.abc import Mapping, Sequence

import torch
from detectron2.layers import Conv2d
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.layers import DeformableLayer, cell_centres, sine_embedding

#: Maps that the layers look at, coarsest first, and the one that only the last step sees.
COARSE, FINE = ("res5", "res4", "res3"), "res2"


class PixelDecoder(nn.Module):
    """Lets the three coarse maps of an encoder see each other, and adds the detail of the fourth.

    It computes in float32 whatever autocast says, as published.
    """

    def __init__(
        self,
        in_dims: Sequence[int],
        *,
        dim: int = 256,
        mask_dim: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        num_points: int = 4,
        ffn_dim: int = 1024,
        norm_groups: int = 32,
    ):
        """Build the decoder; the defaults are the published sizes.

        Args:
            in_dims: channels of res2, res3, res4 and res5.
            dim: channels C inside and of the three maps, a multiple of 4, of `num_heads` and of
                `norm_groups`.
            mask_dim: channels of the mask features.
            num_layers: layers of deformable attention.
            num_heads: their attention heads.
            num_points: points per head and level.
            ffn_dim: their hidden width.
            norm_groups: groups of the group norms.
        """
        super().__init__()
        fine, *coarse = in_dims
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, dim, 1), nn.GroupNorm(norm_groups, dim))
            for c in reversed(coarse)
        )
        self.level_embed = nn.Parameter(torch.randn(len(coarse), dim))
        self.layers = nn.ModuleList(
            DeformableLayer(
                dim,
                num_heads=num_heads,
                num_levels=len(coarse),
                num_points=num_points,
                ffn_dim=ffn_dim,
            )
            for _ in range(num_layers)
        )
        self.lateral = Conv2d(fine, dim, 1, bias=False, norm=nn.GroupNorm(norm_groups, dim))
        self.smooth = Conv2d(
            dim,
            dim,
            3,
            padding=1,
            bias=False,
            norm=nn.GroupNorm(norm_groups, dim),
            activation=F.relu,
        )
        self.mask_features = Conv2d(dim, mask_dim, 1)
        self._init_weights()

    def _init_weights(self) -> None:
        for proj in self.input_proj:
            nn.init.xavier_uniform_(proj[0].weight)
            nn.init.zeros_(proj[0].bias)
        for conv in (self.lateral, self.smooth, self.mask_features):
            c2_xavier_fill(conv)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode an encoder's maps.

        Args:
            features: "res2" to "res5", (B, C_i, ., .) at strides 4, 8, 16 and 32. Strides need not
                be exact: res2's size is that of the mask features.

        Returns:
            Mask features (B, mask_dim, H/4, W/4), and maps (B, C, ., .) of strides 32, 16 and 8;
            float32.
        """
        fine = features[FINE]
        with torch.autocast(fine.device.type, enabled=False):
            maps = self._refine([features[name].float() for name in COARSE])
            up = F.interpolate(maps[-1], fine.shape[-2:], mode="bilinear", align_corners=False)
            return self.mask_features(self.smooth(self.lateral(fine.float()) + up)), maps

    def _refine(self, maps: Sequence[Tensor]) -> list[Tensor]:
        maps = [proj(x) for proj, x in zip(self.input_proj, maps, strict=True)]
        sizes = [(x.shape[-2], x.shape[-1]) for x in maps]
        cells = torch.cat([x.flatten(2) for x in maps], dim=-1).transpose(1, 2)
        position = self._position(sizes)
        reference = cell_centres(sizes, cells.device)
        for layer in self.layers:
            cells = layer(cells, position, reference, sizes)
        parts = cells.transpose(1, 2).split([h * w for h, w in sizes], dim=-1)
        return [x.unflatten(-1, size) for x, size in zip(parts, sizes, strict=True)]

    def _position(self, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """(S, C): place in the picture, and level."""
        dim, device = self.level_embed.shape[1], self.level_embed.device
        places = [sine_embedding(size, dim, device=device)[0].flatten(1).T for size in sizes]
        return torch.cat([p + e for p, e in zip(places, self.level_embed, strict=True)])
