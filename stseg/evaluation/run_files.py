"""Files of one evaluation: what it found, and what it needs to go on. NumPy only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from stseg.evaluation.image_counts import ImageCounts
from stseg.evaluation.results import Result, write_result

_STATE = "sem_seg_state_{}.npz"


class RunFiles:
    """Writes and finds them in one folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Remember the folder; it is made when there is something to write."""
        self.folder = Path(folder)

    def save_state(self, counts: ImageCounts, rank: int, protocol: dict[str, Any]) -> None:
        """Write the counts of a process.

        Args:
            counts: of this process.
            rank: of this process.
            protocol: JSON content, without which the counts mean nothing.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        counts.save(self.folder / _STATE.format(rank), protocol)

    def load_state(
        self, counts: ImageCounts, rank: int, processes: int, protocol: dict[str, Any]
    ) -> int:
        """Share saved states out among the processes of now, however many saved them.

        Args:
            counts: to add to.
            rank: of this process.
            processes: of now.
            protocol: as when they were saved.

        Returns:
            Files read.

        Raises:
            ValueError: if the protocol differs or a file is damaged.
        """
        files = self._states()[rank::processes]
        for path in files:
            counts.load(path, protocol)
        return len(files)

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob(_STATE.format("*")))

    def write(self, result: Result) -> None:
        """Write the result and delete the states, which a later evaluation must not find."""
        write_result(self.folder / "sem_seg_result.json", result)
        for path in self._states():
            path.unlink()


def short_names(files: Sequence[str], root: str = "") -> dict[str, str]:
    """Names of images that are the same on another machine.

    Args:
        files: paths, all different.
        root: folder of the images, "" where not known.

    Returns:
        By path: the path below the root, or below the deepest folder of all, without suffix; with
        suffix where names would be the same, and the paths themselves where they share no folder.
    """
    if not files:
        return {}
    try:
        if not root or os.path.commonpath([root, *files]) != os.path.normpath(root):
            root = os.path.commonpath([os.path.dirname(file) for file in files])
        below = [PurePath(os.path.relpath(file, root or ".")) for file in files]
    except ValueError:  # absolute and relative paths, or two drives
        return dict(zip(files, files, strict=True))
    short = [path.with_suffix("").as_posix() for path in below]
    if len(set(short)) < len(short):
        short = [path.as_posix() for path in below]
    return dict(zip(files, short, strict=True))
