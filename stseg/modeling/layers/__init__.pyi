from .attention_bias import AttentionBias
from .class_context import ClassContext
from .clip_block import add_attention, finish_block, is_plain_block, join_heads, project_heads
from .dea import DEA
from .deformable_attention import DeformableLayer, cell_centres
from .folded_fusion import FoldedFusion
from .grouping_block import Grouped, GroupingBlock, TokenMixer
from .image_prototypes import ImagePrototypes, estimate_prototypes, move_buffer
from .map_fusion import MapFusion
from .mask_pooling import pool_in_masks
from .mlp import build_mlp
from .projector import JointBatchNorm, Projector
from .query_layer import QueryLayer
from .recomputed_stage import run_recomputed
from .region_embedding import RegionEmbedding
from .sam_guidance import SamGuidance
from .sine_position import sine_embedding
from .up_block import UpBlock

__all__ = [
    "AttentionBias",
    "ClassContext",
    "DEA",
    "DeformableLayer",
    "FoldedFusion",
    "Grouped",
    "GroupingBlock",
    "ImagePrototypes",
    "JointBatchNorm",
    "MapFusion",
    "Projector",
    "QueryLayer",
    "RegionEmbedding",
    "SamGuidance",
    "TokenMixer",
    "UpBlock",
    "add_attention",
    "build_mlp",
    "cell_centres",
    "estimate_prototypes",
    "finish_block",
    "is_plain_block",
    "join_heads",
    "move_buffer",
    "pool_in_masks",
    "project_heads",
    "run_recomputed",
    "sine_embedding",
]
