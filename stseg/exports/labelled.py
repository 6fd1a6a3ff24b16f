"""What is exported, and what all formats ask of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

import numpy as np

from stseg.utils import check_output, write_atomically

#: Stands near the beginning of every file that has room for it.
MADE_BY = "stseg export"


class Labelled(Protocol):
    """An image that has been segmented, see `LabelledImage`."""

    @property
    def file_name(self) -> str:
        """Of the image."""
        ...

    @property
    def label_map(self) -> np.ndarray:
        """(H, W) class ids."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """By class id."""
        ...


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image that has been segmented.

    Attributes:
        file_name: of the image, as the export is to name it; its stem names files of its own.
        label_map: (H, W) integers, index into `names`; -1 where unknown.
        names: T class names, the same for all images of an export.
        path: where the image lies, for formats that lead to it; "" for `file_name`.
        place: "folder/stem" for files of its own below the export's folder; "" for that stem.
    """

    file_name: str
    label_map: np.ndarray
    names: tuple[str, ...]
    path: str = ""
    place: str = ""


def stem_of(result: Labelled) -> str:
    """Of files of its own, with folders where its place has any."""
    return getattr(result, "place", "") or PurePath(result.file_name).stem


def masks(label_map: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(class id, (H, W) bool) of every class that is present, by id."""
    for class_id in np.flatnonzero(np.bincount(label_map[label_map >= 0])).tolist():
        yield class_id, label_map == class_id


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """First row, row after the last, first column, column after the last of a mask that has any."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """Lengths of the runs of a mask, row by row; the first is of False, 0 where it begins True."""
    flat = mask.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start = [0, 0] if flat[0] else [0]
    return np.diff(np.concatenate([start, changes, [flat.size]]))


def checked(
    results: Iterable[Labelled], *, by_name: bool, by_stem: bool
) -> tuple[tuple[str, ...], Iterator[Labelled]]:
    """The names, and the images one by one; what does not fit is refused where it comes.

    Args:
        results: of one vocabulary.
        by_name: whether the format knows classes by their names alone.
        by_stem: whether every image gets a file of its stem.

    Raises:
        ValueError: if there is no image, names differ or (by_name) repeat, two images share a
            file name or (by_stem) its stem, or a label map has ids without a name.
    """
    stream = iter(results)
    first = next(stream, None)
    if first is None:
        raise ValueError("Export: expected results of at least one image, got none.")
    names = tuple(first.names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if by_name and twice:
        raise ValueError(
            f"Export: expected a name of its own for every class, got {twice[0]!r} twice, and the "
            "format tells classes by their names. Take coco or yolo, or rename one."
        )
    return names, _each(itertools.chain([first], stream), names, by_stem)


def _each(stream: Iterable[Labelled], names: tuple[str, ...], by_stem: bool) -> Iterator[Labelled]:
    known: dict[str, str] = {}
    for result in stream:
        where = f"Export, {result.file_name!r}"
        if tuple(result.names) != names:
            raise ValueError(
                f"{where}: expected the same {len(names)} names as for the images before, got "
                f"{len(result.names)} others. Export every vocabulary into its own folder."
            )
        _check_ids(result.label_map, len(names), where)
        key = stem_of(result) if by_stem else result.file_name
        if not key or key in known:
            raise ValueError(
                f"{where}: expected a {'stem' if by_stem else 'file name'} of its own, got "
                f"{f'that of {known[key]!r}' if key else 'none'}. Give it another name."
            )
        known[key] = result.file_name
        yield result


def _check_ids(labels: np.ndarray, count: int, where: str) -> None:
    if labels.ndim != 2 or not labels.size:
        raise ValueError(f"{where}: expected a label map (H, W), got shape {labels.shape}.")
    if not -1 <= labels.min() <= labels.max() < count:
        raise ValueError(
            f"{where}: expected ids of -1 to {count - 1}, got {labels.min()} to {labels.max()}."
        )


def write_new(path: Path, content: bytes) -> None:
    """Write a file, but over none that an export has not left.

    Raises:
        ValueError: names the file.
    """
    refuse_strange(path)
    write_atomically(path, content)


def refuse_strange(path: Path) -> None:
    """Refuse a file that no export has left: the annotation that a person made, say.

    Raises:
        ValueError: names the file.
    """
    check_output(path, "Export", is_ours=is_ours)


def is_ours(path: Path) -> bool:
    """Whether an export wrote this file."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return MADE_BY.encode() in file.read(4096)
