"""Errors that explain themselves: what was expected, what came, and the cure. No traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stseg.utils.files import full_disk, no_room

if TYPE_CHECKING:
    import numpy as np

_TRAINING = "detectron2.engine.train_loop"


def explanation(error: BaseException) -> str:
    """The text of an error that a check of ours raised about what it was given; "" for others.

    Our checks say "<name>: expected <rule>, got <value>." Whatever else goes wrong is a fault of
    the program, and its traceback is wanted.
    """
    kinds = (ValueError, KeyError, OSError, FloatingPointError)
    if not isinstance(error, kinds) or not error.args:
        return ""
    if full_disk(error) and ": expected " not in str(error.args[-1]):
        return no_room(getattr(error, "filename", None) or "The disk")
    text = str(error.args[-1])  # an OSError begins with its number, KeyError's str() has quotes
    return text if ": expected " in text else ""  # Python says "(expected 3, got 2)"


def some_of(items: Sequence[Any] | np.ndarray, shown: int = 5) -> str:
    """The first items as text, and how many more there are."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(map(str, items[:shown])) + more


@contextmanager
def without_traceback() -> Iterator[None]:
    """Detectron2's training loop logs an error that explains itself in one line."""
    logger = logging.getLogger(_TRAINING)
    logger.addFilter(_shortened)
    try:
        yield
    finally:
        logger.removeFilter(_shortened)


def _shortened(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and explanation(error):
        record.msg, record.args = "%s", (explanation(error),)
        record.exc_info = None
    return True
