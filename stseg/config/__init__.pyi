from .assemble import setup_cfg, usable_device
from .data_entries import (
    FOLDERS_KEY,
    PAIRS_KEY,
    DataEntry,
    existing_path,
    is_entry_of_texts,
    is_folder,
    parse_entry,
    parse_flag,
)
from .entry_keys import split_keys, typed_keys
from .model import has_clip_beside
from .rules import SHARE
from .self_training import IMAGES_NAME, check_ignored, needs_sam, trusted_labels
from .table import add_stseg_config, check, check_values, leaves
from .unread import unread_changes

__all__ = [
    "DataEntry",
    "IMAGES_NAME",
    "FOLDERS_KEY",
    "PAIRS_KEY",
    "SHARE",
    "add_stseg_config",
    "check",
    "check_ignored",
    "check_values",
    "existing_path",
    "has_clip_beside",
    "is_entry_of_texts",
    "is_folder",
    "needs_sam",
    "split_keys",
    "typed_keys",
    "leaves",
    "parse_entry",
    "parse_flag",
    "setup_cfg",
    "trusted_labels",
    "unread_changes",
    "usable_device",
]
