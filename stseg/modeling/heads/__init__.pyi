from .balance import EmbeddingBalance, frozen_embeddings
from .cosine_head import CosineHead
from .cost_decoder import CostAwareDecoder
from .cost_volume import CostVolume
from .geometric_ensemble import GeometricEnsemble
from .mask_decoder import MaskDecoder, QueryRound
from .pixel_decoder import PixelDecoder

__all__ = [
    "CosineHead",
    "CostAwareDecoder",
    "CostVolume",
    "EmbeddingBalance",
    "GeometricEnsemble",
    "MaskDecoder",
    "PixelDecoder",
    "QueryRound",
    "frozen_embeddings",
]
