from .entries import Published, catalog, find, path_of
from .fetch import get, verify, whereabouts
from .packaged_file import PHOTO_NETWORK, ExtraMissingError, PackagedFile
from .paths import resolve

__all__ = [
    "PHOTO_NETWORK",
    "ExtraMissingError",
    "PackagedFile",
    "Published",
    "catalog",
    "find",
    "get",
    "path_of",
    "resolve",
    "verify",
    "whereabouts",
]
