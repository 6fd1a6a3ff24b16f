from .entries import Published, catalog, find, path_of
from .fetch import get, verify, whereabouts
from .paths import resolve

__all__ = [
    "Published",
    "catalog",
    "find",
    "get",
    "path_of",
    "resolve",
    "verify",
    "whereabouts",
]
