"""Models; importing this package registers them with Detectron2."""

from stseg.utils.dependencies import require_detectron2

require_detectron2(__name__)

from stseg.modeling.heads import cost_decoder as _  # noqa: F401  only registration
from stseg.modeling.meta_arch.stseg import STSeg

__all__ = ["STSeg"]
