from .data_commands import data_command
from .reproduction import claims, compare_run, comparison_text
from .sheet import make_sheet, write_page, write_sheet

__all__ = [
    "claims",
    "compare_run",
    "comparison_text",
    "data_command",
    "make_sheet",
    "write_page",
    "write_sheet",
]
