"""The systems that MODEL.META_ARCHITECTURE may name; importing this module registers them."""

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling import build_model as build_registered
from torch import nn

from stseg.modeling.meta_arch import CEL, EBSeg, PGSeg, STSeg
from stseg.utils import registered

__all__ = ["CEL", "EBSeg", "PGSeg", "STSeg", "build_model"]


def build_model(cfg: CfgNode) -> nn.Module:
    """As Detectron2's, without the weights of MODEL.WEIGHTS.

    Raises:
        ValueError: if there is no such system, or a key of it is out of range.
    """
    registered(META_ARCH_REGISTRY, cfg.MODEL.META_ARCHITECTURE, "MODEL.META_ARCHITECTURE")
    return build_registered(cfg)
