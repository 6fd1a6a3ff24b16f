"""Phases of a run, named where they happen, for whoever watches: dry runs, tests, the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

logger = logging.getLogger(__name__)

#: Called with the name of a phase; what it returns is entered around the phase.
Watcher = Callable[[str], AbstractContextManager]

_watchers: list[Watcher] = []


@contextmanager
def phase(name: str) -> Iterator[None]:
    """What happens inside, or in a function that this decorates, is a phase of a run.

    Args:
        name: in plain words; one phase may lie in another.
    """
    logger.debug("%s", name)
    with ExitStack() as stack:
        for watcher in _watchers:
            stack.enter_context(watcher(name))
        yield


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell a watcher of every phase that begins inside, in this process."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
