from .systems import STSeg, build_model

__all__ = ["STSeg", "build_model"]
