"""Models; importing this package registers them with Detectron2."""

from stseg.modeling.heads import cost_decoder as _  # noqa: F401  only registration
from stseg.modeling.meta_arch.stseg import STSeg

__all__ = ["STSeg"]
