from .sheet import make_sheet, write_page, write_sheet

__all__ = ["make_sheet", "write_page", "write_sheet"]
