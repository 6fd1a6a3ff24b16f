from .clip import build_clip, build_image_encoder, create_clip
from .convnext_mini import add_mini_configs
from .efficientnet_photo import PHOTO_TRUNK
from .grouping_transformer import GroupingTransformer, cell_shares
from .pixel_statistics import add_clip_statistics
from .query_attention import pool_bias
from .sam import SAMImageEncoder, build_sam_encoder, check_sam_checkpoint, create_sam, decoder_parts
from .sam_mini import build_sam_mini
from .sam_pyramid import SAMPyramid, build_sam_pyramid
from .split_vit import SplitViT, build_split_vit
from .towers import wrap_image_tower
from .value_stream import embed_cells

__all__ = [
    "GroupingTransformer",
    "PHOTO_TRUNK",
    "SAMImageEncoder",
    "SAMPyramid",
    "SplitViT",
    "add_clip_statistics",
    "add_mini_configs",
    "build_clip",
    "build_image_encoder",
    "build_sam_encoder",
    "build_sam_mini",
    "build_sam_pyramid",
    "build_split_vit",
    "cell_shares",
    "check_sam_checkpoint",
    "create_clip",
    "create_sam",
    "decoder_parts",
    "embed_cells",
    "pool_bias",
    "wrap_image_tower",
]
