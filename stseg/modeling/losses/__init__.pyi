from .criterion import SegmentationCriterion
from .mask_points import PointSampler, RandomPoints
from .mask_targets import MaskTargets, masks_of_labels
from .matcher import HungarianMatcher, Match
from .set_criterion import SetCriterion, SetPrediction
from .structure import structure_consistency

__all__ = [
    "HungarianMatcher",
    "MaskTargets",
    "Match",
    "PointSampler",
    "RandomPoints",
    "SegmentationCriterion",
    "SetCriterion",
    "SetPrediction",
    "masks_of_labels",
    "structure_consistency",
]
