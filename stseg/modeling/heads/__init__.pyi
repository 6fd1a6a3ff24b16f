from .cost_decoder import CostAwareDecoder
from .cost_volume import CostVolume

__all__ = ["CostAwareDecoder", "CostVolume"]
