"""What a benchmark asks to be prepared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """One raw sample and the files that are made of it. Goes to worker processes.

    Attributes:
        source: raw file; named in messages.
        outputs: files to write, below the output root, with forward slashes.
        make: module-level function, called with `source` and `arguments`; returns the content of
            every output. The same input gives the same bytes.
        arguments: further ones.
    """

    source: Path
    outputs: tuple[str, ...]
    make: Callable[..., Sequence[bytes]]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A benchmark to prepare.

    Attributes:
        title: for people.
        download: where the official data are and how they must lie, several lines.
        splits: per split, what lists its tasks for a data root, sorted; it raises
            `MissingDataError` where the download lacks something.
    """

    title: str
    download: str
    splits: Mapping[str, Callable[[Path], list[Task]]]


class MissingDataError(FileNotFoundError):
    """The download is not there, or not whole."""


def raw_files(root: Path, folder: str, pattern: str = "*.png") -> list[Path]:
    """Files of a folder of the download, sorted.

    Raises:
        MissingDataError: if there are none.
    """
    found = sorted(p for p in (root / folder).glob(pattern) if not p.name.startswith("."))
    if not found:
        raise MissingDataError(f"expected {root / folder / pattern}, got nothing there")
    return found


def raw_file(root: Path, *paths: str) -> Path:
    """A file of the download: the first of several paths that is there.

    Raises:
        MissingDataError: if none is.
    """
    for path in paths:
        if (root / path).is_file():
            return root / path
    listed = " or ".join(str(root / path) for path in paths)
    raise MissingDataError(f"expected {listed}, got nothing there")


def read_stems(path: Path) -> list[str]:
    """Names without suffix, the first word of every line, sorted, each once.

    Raises:
        MissingDataError: if the list is empty.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    stems = sorted({line.split()[0] for line in lines if line.strip()})
    if not stems:
        raise MissingDataError(f"expected names in {path}, one a line, got none")
    return stems
