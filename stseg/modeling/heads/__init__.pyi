from .cosine_head import CosineHead
from .cost_decoder import CostAwareDecoder
from .cost_volume import CostVolume
from .pixel_decoder import PixelDecoder

__all__ = [
    "CosineHead",
    "CostAwareDecoder",
    "CostVolume",
    "PixelDecoder",
]
