from .dependencies import is_installed, require_detectron2
from .disk_cache import TensorCache, cache_folder
from .doors import front_door
from .errors import explanation, some_of, without_traceback
from .files import MARK, as_bytes, check_output, irregular_kind, write_atomically
from .ids import IGNORE_LABEL
from .leftovers import remove_leftovers
from .old_ways import hide_jit, hide_old_ways
from .phases import phase, watching
from .random_state import get_random_state, kept_random_state, set_random_state
from .registries import registered
from .saying import say
from .shipped import ASSETS, config_names, config_path
from .texts import (
    did_you_mean,
    name_key,
    nearest,
    parse_json,
    read_json,
    read_text,
    same_name,
    spelling_on_disk,
)
from .threads import share_processors
from .version import VERSION

__all__ = [
    "ASSETS",
    "config_names",
    "config_path",
    "phase",
    "watching",
    "IGNORE_LABEL",
    "MARK",
    "VERSION",
    "TensorCache",
    "as_bytes",
    "cache_folder",
    "check_output",
    "did_you_mean",
    "explanation",
    "front_door",
    "get_random_state",
    "hide_jit",
    "hide_old_ways",
    "irregular_kind",
    "is_installed",
    "kept_random_state",
    "remove_leftovers",
    "require_detectron2",
    "say",
    "name_key",
    "nearest",
    "parse_json",
    "read_json",
    "read_text",
    "registered",
    "require_detectron2",
    "same_name",
    "set_random_state",
    "share_processors",
    "some_of",
    "spelling_on_disk",
    "without_traceback",
    "write_atomically",
]
