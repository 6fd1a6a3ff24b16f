from .criterion import SegmentationCriterion

__all__ = ["SegmentationCriterion"]
