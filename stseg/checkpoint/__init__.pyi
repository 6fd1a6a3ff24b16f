from .checkpointer import (
    Checkpointer,
    check_weights,
    checked_average,
    load_for_evaluation,
    spare_encoder_files,
    weights_file,
    write_json,
)
from .facts import WeightFacts
from .fit import check_fit, config_of, shapes_of
from .published import identify
from .reading import (
    LOADED_NEXT,
    RANDOM,
    READ_ERRORS,
    read_checkpoint,
    read_state_dict,
    reason_of,
)
from .short_form import in_short
from .state import AnswersDigest, changeable_names, changeable_state, weights_digest

__all__ = [
    "AnswersDigest",
    "changeable_names",
    "changeable_state",
    "weights_digest",
    "Checkpointer",
    "LOADED_NEXT",
    "RANDOM",
    "READ_ERRORS",
    "WeightFacts",
    "check_fit",
    "check_weights",
    "checked_average",
    "config_of",
    "identify",
    "in_short",
    "load_for_evaluation",
    "read_checkpoint",
    "read_state_dict",
    "reason_of",
    "shapes_of",
    "spare_encoder_files",
    "weights_file",
    "write_json",
]
