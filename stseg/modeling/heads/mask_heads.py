"""Pixel and mask decoder of a system that answers with masks of queries, by its own keys."""

from collections.abc import Sequence

from detectron2.config import CfgNode

from stseg.modeling.heads.mask_decoder import MaskDecoder
from stseg.modeling.heads.pixel_decoder import PixelDecoder


def build_mask_heads(
    own: CfgNode, map_dims: Sequence[int], class_dim: int, clip_heads: int = 0
) -> tuple[PixelDecoder, MaskDecoder]:
    """Build both in the proportions of Mask2Former.

    Args:
        own: with HIDDEN_DIM, NUM_PIXEL_LAYERS, NUM_QUERIES and NUM_LAYERS.
        map_dims: channels of res2, res3, res4 and res5.
        class_dim: channels of class vectors.
        clip_heads: see `MaskDecoder`.
    """
    pixel_decoder = PixelDecoder(
        map_dims,
        dim=own.HIDDEN_DIM,
        mask_dim=own.HIDDEN_DIM,
        num_layers=own.NUM_PIXEL_LAYERS,
        ffn_dim=4 * own.HIDDEN_DIM,
    )
    mask_decoder = MaskDecoder(
        dim=own.HIDDEN_DIM,
        num_queries=own.NUM_QUERIES,
        num_layers=own.NUM_LAYERS,
        ffn_dim=8 * own.HIDDEN_DIM,
        class_dim=class_dim,
        clip_heads=clip_heads,
    )
    return pixel_decoder, mask_decoder
