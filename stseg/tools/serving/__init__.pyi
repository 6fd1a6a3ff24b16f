from .picture_service import Answer, Asked, PictureService
from .request_limits import Limits, RefusedError
from .rest_endpoint import build_api
from .serve_command import serving_command
from .waiting_line import WaitingLine
from .web_page import add_page

__all__ = [
    "Answer",
    "Asked",
    "Limits",
    "PictureService",
    "RefusedError",
    "WaitingLine",
    "add_page",
    "build_api",
    "serving_command",
]
