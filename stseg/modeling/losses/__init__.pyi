from .class_enhancement import (
    ENHANCEMENT_LOSS_REGISTRY,
    AbsentPushOff,
    ClassPresence,
    build_enhancements,
)
from .class_loss import known_shares
from .class_ranking import ListRanking, PairRanking, centred_cosines
from .contrastive import capped_scale, contrastive_loss
from .criterion import SegmentationCriterion
from .mask_points import PointSampler, RandomPoints
from .mask_targets import MaskTargets, masks_of_labels
from .matcher import HungarianMatcher, Match
from .proposal_scores import EnhancementLoss, ProposalScores
from .prototype_matching import match_prototypes, matched_prototype_loss, prototype_loss
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
    "PairRanking",
    "PointSampler",
    "ProposalScores",
    "RandomPoints",
    "SegmentationCriterion",
    "SetCriterion",
    "SetPrediction",
    "build_enhancements",
    "capped_scale",
    "centred_cosines",
    "contrastive_loss",
    "known_shares",
    "masks_of_labels",
    "match_prototypes",
    "matched_prototype_loss",
    "prototype_loss",
    "structure_consistency",
]
