from .data_commands import data_command
from .sheet import make_sheet, write_page, write_sheet

__all__ = ["data_command", "make_sheet", "write_page", "write_sheet"]
