"""SAM's image encoder as a backbone of four maps, for pictures of any size (EBSeg, CVPR 2024).

What the blocks with global attention leave on the residual stream, resized: no neck, no square.

Shapes: B images, C channels of SAM's blocks, n pixels of a patch.
"""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.encoders.freezing import train_only
from stseg.modeling.encoders.pixel_statistics import add_pixel_statistics
from stseg.modeling.encoders.sam import (
    PIXEL_MEAN,
    PIXEL_STD,
    after_global_blocks,
    create_sam,
    global_blocks,
)

SCALES = {"res2": 4.0, "res3": 2.0, "res4": 1.0, "res5": 0.5}


class SAMPyramid(nn.Module):
    """A frozen encoder of SAM without its neck."""

    def __init__(self, encoder: ImageEncoderViT, *, trained: Sequence[str] = ("pos_embed",)):
        """Wrap an encoder, from which the neck is removed.

        Args:
            encoder: `Sam.image_encoder`. Its global blocks are spread over the four maps: where
                there are fewer, as in SAM-mini, one serves several.
            trained: parameters of the encoder that train.

        Raises:
            ValueError: if no block is global, or a parameter does not exist.
        """
        super().__init__()
        count = len(global_blocks(encoder))
        if not count:
            raise ValueError(
                "encoder: expected blocks with global attention, got none. Take one of SAM's own."
            )
        self.sources = {name: count * level // len(SCALES) for level, name in enumerate(SCALES)}
        encoder.neck = nn.Identity()
        train_only(encoder, trained, "SAM's image encoder")
        self.encoder = encoder
        add_pixel_statistics(self, PIXEL_MEAN, PIXEL_STD)

    def train(self, mode: bool = True) -> "SAMPyramid":
        """Stay in evaluation mode whatever the rest of the model does."""
        del mode
        return super().train(False)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each map."""
        kernel = self.encoder.patch_embed.proj
        return {
            name: ShapeSpec(channels=kernel.out_channels, stride=int(kernel.stride[0] / scale))
            for name, scale in SCALES.items()
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Encode a batch.

        Args:
            images: (B, 3, H, W), normalised, with multiples of 2 n for H and W.

        Returns:
            "res2" to "res5": (B, C, H / s, W / s) at the strides s = n / 4, n / 2, n and 2 n.
        """
        maps, _ = after_global_blocks(self.encoder, images)
        return {name: _rescale(maps[self.sources[name]], scale) for name, scale in SCALES.items()}


def build_sam_pyramid(cfg: CfgNode, *, trained: Sequence[str] = ("pos_embed",)) -> SAMPyramid:
    """The pyramid of `MODEL.SAM.NAME` and its file; see `SAMPyramid` for what trains."""
    sam = create_sam(cfg.MODEL.SAM.NAME, cfg.MODEL.SAM.CHECKPOINT)
    return SAMPyramid(sam.image_encoder, trained=trained)


def _rescale(x: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return x
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
