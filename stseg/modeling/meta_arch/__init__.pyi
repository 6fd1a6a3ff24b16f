from .stseg import STSeg

__all__ = ["STSeg"]
