from .names import CLASS_NAMES, UNSEEN_NAMES
from .scenes import SEEDS_PER_SPLIT, SPLIT_SEEDS, Phrase, Scene, render
from .split_command import small_world_command
from .split_files import SPLITS, check_folder, write_split

__all__ = [
    "CLASS_NAMES",
    "Phrase",
    "SEEDS_PER_SPLIT",
    "SPLITS",
    "SPLIT_SEEDS",
    "Scene",
    "UNSEEN_NAMES",
    "check_folder",
    "render",
    "small_world_command",
    "write_split",
]
