"""One stage of the cost-aware decoder: aggregate, attend, double the size, fuse (SED, section 3.2).

Shapes: B images, T classes, N = B T with the class as the fast axis, C channels, H and W cells.
"""

import torch
from torch import Tensor, nn

from stseg.modeling.layers.class_attention import ClassAttention
from stseg.modeling.layers.convnext_block import ConvNeXtBlock

GROUP_SIZE = 16  # channels per group of the group norms


class DoubleConv(nn.Module):
    """Twice: 3x3 convolution without bias, group norm in groups of 16 channels, ReLU."""

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        if out_dim % GROUP_SIZE:
            raise ValueError(f"out_dim: expected a multiple of {GROUP_SIZE}, got {out_dim}.")
        groups = out_dim // GROUP_SIZE
        self.layers = nn.Sequential(
            nn.Conv2d(in_dim, out_dim, 3, padding=1, bias=False),
            nn.GroupNorm(groups, out_dim),
            nn.ReLU(),
            nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False),
            nn.GroupNorm(groups, out_dim),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        return self.layers(x)


class UpBlock(nn.Module):
    """ConvNeXt block, class attention, transposed convolution, fusion with two guidances."""

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        image_guidance_dim: int,
        score_guidance_dim: int,
        text_guidance_dim: int = 0,
        num_heads: int = 4,
        kernel_size: int = 9,
        attention: str = "linear",
    ):
        super().__init__()
        if image_guidance_dim >= in_dim:
            raise ValueError(
                f"image_guidance_dim: expected less than in_dim ({in_dim}), got "
                f"{image_guidance_dim}."
            )
        self.spatial = ConvNeXtBlock(in_dim, kernel_size=kernel_size)
        self.class_attention = ClassAttention(
            in_dim, num_heads=num_heads, guidance_dim=text_guidance_dim, kind=attention
        )
        up_dim = in_dim - image_guidance_dim
        self.upsample = nn.ConvTranspose2d(in_dim, up_dim, 2, stride=2)
        self.fuse = DoubleConv(up_dim + image_guidance_dim + score_guidance_dim, out_dim)

    def forward(
        self,
        x: Tensor,
        image_guidance: Tensor,
        score_guidance: Tensor,
        *,
        pooling: int = 1,
        text_guidance: Tensor | None = None,
    ) -> Tensor:
        """Double the resolution of every class's map.

        Args:
            x: (B T, C_in, H, W).
            image_guidance: (B, G, 2H, 2W), shared by the classes of an image.
            score_guidance: (B T, S, 2H, 2W).
            pooling: see `ClassAttention`.
            text_guidance: (B, T, C_t) or None.

        Returns:
            (B T, C_out, 2H, 2W).
        """
        batch = image_guidance.shape[0]
        x = self.spatial(x)
        y = x.unflatten(0, (batch, -1)).transpose(1, 2)  # (B, C, T, H, W)
        y = self.class_attention(y, pooling=pooling, guidance=text_guidance)
        x = self.upsample(y.transpose(1, 2).flatten(0, 1))
        num_classes = x.shape[0] // batch
        image_guidance = image_guidance.repeat_interleave(num_classes, dim=0)
        return self.fuse(torch.cat([x, image_guidance, score_guidance], dim=1))
