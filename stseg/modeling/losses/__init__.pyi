from .class_enhancement import (
    ENHANCEMENT_LOSS_REGISTRY,
    AbsentPushOff,
    ClassPresence,
    MatchedCrossEntropy,
    build_enhancements,
)
from .class_ranking import ListRanking, PairRanking, centred_cosines
from .criterion import SegmentationCriterion
from .mask_points import PointSampler, RandomPoints
from .mask_targets import MaskTargets, masks_of_labels
from .matcher import HungarianMatcher, Match
from .proposal_scores import EnhancementLoss, ProposalScores
from .set_criterion import SetCriterion, SetPrediction
from .structure import structure_consistency

__all__ = [
    "ENHANCEMENT_LOSS_REGISTRY",
    "AbsentPushOff",
    "ClassPresence",
    "EnhancementLoss",
    "HungarianMatcher",
    "ListRanking",
    "MaskTargets",
    "Match",
    "MatchedCrossEntropy",
    "PairRanking",
    "PointSampler",
    "ProposalScores",
    "RandomPoints",
    "SegmentationCriterion",
    "SetCriterion",
    "SetPrediction",
    "build_enhancements",
    "centred_cosines",
    "masks_of_labels",
    "structure_consistency",
]
