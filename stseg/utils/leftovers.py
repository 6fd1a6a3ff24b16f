"""Temporary files of processes that were killed while they wrote; see `write_atomically`."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

_TEMPORARY = re.compile(r"^\..+\.(\d+)\.tmp(\.\w+)?$")


def remove_leftovers(folder: str | os.PathLike[str], *, below: bool = False) -> None:
    """Remove temporary files of killed processes; those of living ones stay. Linux only.

    Elsewhere they stay, too: hidden, and read by nobody. Nothing happens where there is no folder.

    Args:
        folder: where files are written.
        below: look into the folders in it, too.
    """
    for path in _files(folder, below):
        match = _TEMPORARY.match(path.name)
        if match and not _is_running(int(match[1])):
            path.unlink(missing_ok=True)
            logger.debug("Removed %s, which a killed run left.", path)


def _files(folder: str | os.PathLike[str], below: bool) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        yield from (Path(place, name) for name in names)
        if not below:
            folders.clear()


def _is_running(process: int) -> bool:
    """Whether it may still write; a killed one that nobody collected does not."""
    if sys.platform != "linux":
        return True
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in ("Z", "X")
