from .data_commands import data_command
from .observation import (
    GOOD,
    NOTE,
    WRONG,
    Observation,
    observation_text,
    observations_text,
)
from .sheet import make_sheet, write_page, write_sheet

__all__ = [
    "GOOD",
    "NOTE",
    "Observation",
    "WRONG",
    "data_command",
    "make_sheet",
    "observation_text",
    "observations_text",
    "write_page",
    "write_sheet",
]
