from .examination import examine
from .smoke_run import SmokeScene

__all__ = ["SmokeScene", "examine"]
