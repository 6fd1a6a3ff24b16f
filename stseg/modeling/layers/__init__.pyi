from .class_context import ClassContext
from .dea import DEA
from .deformable_attention import DeformableLayer, cell_centres
from .folded_fusion import FoldedFusion
from .map_fusion import MapFusion
from .recomputed_stage import run_recomputed
from .sam_guidance import SamGuidance
from .sine_position import sine_embedding
from .up_block import UpBlock

__all__ = [
    "ClassContext",
    "DEA",
    "DeformableLayer",
    "FoldedFusion",
    "MapFusion",
    "SamGuidance",
    "UpBlock",
    "cell_centres",
    "run_recomputed",
    "sine_embedding",
]
