from .dataset_labeler import DatasetLabeler
from .hook import SamPseudoLabelHook
from .previewer import write_preview
from .target import load_target, register_target

__all__ = [
    "DatasetLabeler",
    "SamPseudoLabelHook",
    "load_target",
    "register_target",
    "write_preview",
]
