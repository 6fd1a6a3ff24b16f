"""Pairs of image and caption, however many, of which each is read when it is asked for."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np

from stseg.config import DataEntry, existing_path
from stseg.data.readers.caption_files import TABLE_SUFFIXES, FolderPairs, TablePairs
from stseg.data.readers.tar_shards import ShardPairs


class PairSource(Protocol):
    """Some pairs, numbered from 0.

    Attributes:
        incomplete: how many were left out for want of an image or a caption.
    """

    incomplete: int

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Memory of the index."""

    def read(self, index: int) -> dict[str, Any]:
        """A pair, as `PairIndex` gives it."""

    def place(self, index: int) -> str:
        """The file or folder that holds a pair; found without reading it."""


class PairIndex(Sequence[dict[str, Any]]):
    """Records of pairs, from one or several sources.

    A record holds "file_name", of a member of a tar with the tar's path in front; "caption", a text
    that is not empty; and "image_bytes" where the image lies in a tar. It is read anew every time.
    Workers that are forked share the memory of the index, arrays alone.
    """

    def __init__(self, sources: Sequence[PairSource], chosen: range | None = None) -> None:
        """Number the pairs through.

        Args:
            sources: one behind the other.
            chosen: numbers of the pairs that count, all by default.
        """
        self._sources = list(sources)
        self._ends = np.cumsum([len(source) for source in sources], dtype=np.int64)
        self._chosen = range(int(self._ends[-1])) if chosen is None else chosen

    @classmethod
    def joined(cls, indexes: Sequence[PairIndex]) -> PairIndex:
        """All pairs of several data sets."""
        return cls([source for index in indexes for source in index._sources])

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> PairIndex: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | PairIndex:
        """A record, or an index of some pairs.

        Raises:
            BrokenFileError: if a member or a caption is broken; the image is not decoded.
            FileNotFoundError: if the file is gone.
        """
        if isinstance(index, slice):
            return PairIndex(self._sources, self._chosen[index])
        source, place = self._find(index)
        return source.read(place)

    def place(self, index: int) -> str:
        """The shard, table or folder that holds a pair."""
        source, place = self._find(index)
        return source.place(place)

    @property
    def nbytes(self) -> int:
        """Memory of the index."""
        return sum(source.nbytes for source in self._sources)

    def _find(self, index: int) -> tuple[PairSource, int]:
        number = self._chosen[index]
        which = int(np.searchsorted(self._ends, number, side="right"))
        return self._sources[which], number - int(self._ends[which - 1] if which else 0)


def load_pairs(entry: DataEntry) -> tuple[PairIndex, list[str]]:
    """Find the pairs of an entry of the format "pairs".

    Returns:
        The pairs, and notes for the log.

    Raises:
        FileNotFoundError: if nothing is at the path, or none of a table's first images.
        ValueError: if there is no pair, or a table has other headings.
        BrokenFileError: if a shard cannot be read to its end.
    """
    source = _source(entry)
    if not len(source):
        raise ValueError(
            f"Data set {entry.name}: expected at least one image with a caption in {entry.path}, "
            f"got none ({source.incomplete} lack the one or the other). Shards hold members such "
            "as 0001.jpg and 0001.txt, folders 0001.jpg with 0001.txt beside it."
        )
    notes = [f"{len(source)} pairs of image and caption"]
    if source.incomplete:
        notes.append(f"{source.incomplete} left out that lack the image or the caption")
    return PairIndex([source]), notes


def _source(entry: DataEntry) -> PairSource:
    path = Path(entry.path).expanduser().absolute()
    if path.suffix.lower() in TABLE_SUFFIXES:
        path = existing_path(entry.name, "table of captions", path, is_dir=False)
        folder = path.parent
        if entry.images:
            folder = existing_path(entry.name, "folder of images", entry.images, is_dir=True)
        return TablePairs(path, folder, entry.image_column, entry.caption_column)
    if keys := [k for k in ("images", "image_column", "caption_column") if getattr(entry, k)]:
        raise ValueError(
            f"Data set {entry.name}: expected a CSV, TSV or JSONL for {', '.join(keys)}, "
            f"got {path}. Remove the keys, or name a table."
        )
    shards = _shards(path)
    if shards:
        return ShardPairs.of(shards, entry.name)
    if glob.has_magic(str(path)) and not path.exists():
        raise FileNotFoundError(
            f"Data set {entry.name}: expected tar shards, got none at {path}. Relative paths start "
            "at the working directory."
        )
    what = "folder of images or shards, table or tar"
    return FolderPairs(existing_path(entry.name, what, entry.path, is_dir=True))


def _shards(path: Path) -> list[str]:
    """The tars that a file, a folder or a glob stands for, by name."""
    if path.is_dir():
        found = list(path.glob("*.tar"))
    elif path.is_file():
        found = [path] if path.suffix.lower() == ".tar" else []
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    kept = (p for p in found if p.is_file() and not p.name.startswith("."))
    return sorted(str(p) for p in kept if p.suffix.lower() == ".tar")
