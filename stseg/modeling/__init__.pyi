from .systems import EBSeg, STSeg, build_model

__all__ = ["EBSeg", "STSeg", "build_model"]
