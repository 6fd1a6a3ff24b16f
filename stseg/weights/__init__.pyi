from .entries import Published, catalog, find
from .fetch import get, verify, whereabouts
from .paths import resolve

__all__ = [
    "Published",
    "catalog",
    "find",
    "get",
    "resolve",
    "verify",
    "whereabouts",
]
