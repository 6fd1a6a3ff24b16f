from .dataset_labeler import DatasetLabeler
from .from_config import build_dataset_labeler, build_preview, build_self_training
from .guard import GuardSettings
from .hook import SamPseudoLabelHook
from .labeler import LABELER_REGISTRY, Labeler, SamBranch
from .probe import take_snapshot
from .refiner import PromptSettings
from .region_vote import RegionSettings
from .round_page import write_preview
from .sam_features import SamFeatures
from .target import Target, load_target, register_target
from .template_choice import TemplateCounts, sum_counts, with_choice
from .trains_in_rounds import TrainsInRounds

__all__ = [
    "DatasetLabeler",
    "GuardSettings",
    "LABELER_REGISTRY",
    "Labeler",
    "PromptSettings",
    "RegionSettings",
    "SamBranch",
    "SamFeatures",
    "SamPseudoLabelHook",
    "Target",
    "TemplateCounts",
    "TrainsInRounds",
    "build_dataset_labeler",
    "build_preview",
    "build_self_training",
    "load_target",
    "register_target",
    "sum_counts",
    "take_snapshot",
    "with_choice",
    "write_preview",
]
