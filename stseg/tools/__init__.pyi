from .data_commands import data_command
from .observation import (
    GOOD,
    NOTE,
    WRONG,
    Observation,
    observation_text,
    observations_text,
)
from .reproduction import claims, compare_run, comparison_text
from .sheet import make_sheet, write_page, write_sheet

__all__ = [
    "GOOD",
    "NOTE",
    "Observation",
    "WRONG",
    "claims",
    "compare_run",
    "comparison_text",
    "data_command",
    "make_sheet",
    "observation_text",
    "observations_text",
    "write_page",
    "write_sheet",
]
