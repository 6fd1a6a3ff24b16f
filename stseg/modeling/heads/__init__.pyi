from .balance import EmbeddingBalance, frozen_embeddings
from .cosine_head import CosineHead
from .cost_decoder import CostAwareDecoder
from .cost_volume import CostVolume
from .geometric_ensemble import GeometricEnsemble
from .mask_decoder import MaskDecoder, QueryRound
from .mask_heads import build_mask_heads
from .pixel_decoder import PixelDecoder
from .proposal_scoring import ProposalScoring

__all__ = [
    "CosineHead",
    "CostAwareDecoder",
    "CostVolume",
    "EmbeddingBalance",
    "GeometricEnsemble",
    "MaskDecoder",
    "PixelDecoder",
    "ProposalScoring",
    "QueryRound",
    "build_mask_heads",
    "frozen_embeddings",
]
