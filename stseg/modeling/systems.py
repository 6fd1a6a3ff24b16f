"""The systems that MODEL.META_ARCHITECTURE may name; importing this module registers them."""

from detectron2.modeling import build_model

from stseg.modeling.meta_arch import STSeg

__all__ = ["STSeg", "build_model"]
