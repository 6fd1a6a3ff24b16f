from .class_context import ClassContext
from .dea import DEA
from .folded_fusion import FoldedFusion
from .recomputed_stage import run_recomputed
from .sam_guidance import SamGuidance
from .up_block import UpBlock

__all__ = ["ClassContext", "DEA", "FoldedFusion", "SamGuidance", "UpBlock", "run_recomputed"]
