"""One pass over the files: what each holds, in numbers that the checks read."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from stseg.data import (
    BrokenFileError,
    LabelCoding,
    image_size,
    open_image,
    orientation_of,
    read_ids,
    read_image,
)
from stseg.tools.verification.data_set import Pair

_TAIL = 64  # bytes at the end of a file in which a JPEG or PNG says that it is complete
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
# What Pillow raises on damaged files, beside ValueError.
_BROKEN = (
    OSError,
    SyntaxError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, eq=False)
class FileFacts:
    """What one pair of files holds.

    Attributes:
        image: path.
        label: path, "" if there is none.
        image_error: why the image cannot be read, "" if it can.
        image_size: (width, height) as stored; zeros if it cannot be read.
        orientation: of EXIF, 1 to 8; 1 is upright.
        label_error: why the label map cannot be read, "" if it can.
        is_undecodable: the label file is damaged or missing, not just of a kind without ids.
        label_mode: Pillow's mode, "" if it cannot be opened.
        label_format: Pillow's format, "PNG".
        label_size: (width, height); zeros if it cannot be opened.
        ids: (k,) int64, the ids that occur, rising.
        counts: (k,) int64, pixels of each.
        strange: values or colours that the data set gives no meaning, see `LabelCoding`.
        strange_pixels: that hold them.
        top_id: id that covers most of the first row, -1 if there is none. The sky, if there is one.
    """

    image: str
    label: str = ""
    image_error: str = ""
    image_size: tuple[int, int] = (0, 0)
    orientation: int = 1
    label_error: str = ""
    is_undecodable: bool = False
    label_mode: str = ""
    label_format: str = ""
    label_size: tuple[int, int] = (0, 0)
    ids: Any = ()
    counts: Any = ()
    strange: tuple[int, ...] = ()
    strange_pixels: int = 0
    top_id: int = -1

    @property
    def has_ids(self) -> bool:
        """Whether the label map was read."""
        return len(self.ids) > 0


def scan(
    pairs: Sequence[Pair],
    *,
    jobs: int = 1,
    decode: bool = False,
    progress: Callable[[Iterable[FileFacts]], Iterable[FileFacts]] = iter,
    coding: LabelCoding | None = None,
) -> list[FileFacts]:
    """Look at every pair once: the label map whole, of the image only header and end.

    Args:
        pairs: files.
        jobs: threads.
        decode: decode every image, too: finds damage in the middle, takes several times as long.
        progress: wraps the results as they come.
        coding: what the values in the label maps mean; None where they are ids.

    Returns:
        Facts in the order of the pairs.
    """
    pool = ThreadPoolExecutor(jobs)
    try:
        return list(progress(pool.map(lambda pair: look(pair, decode, coding), pairs)))
    finally:
        pool.shutdown(cancel_futures=True)  # so that Ctrl+C does not wait for all of them


def look(pair: Pair, decode: bool = False, coding: LabelCoding | None = None) -> FileFacts:
    """The facts of one pair; see `scan`."""
    facts = _with_image(FileFacts(pair.image, pair.label), decode)
    return _with_label(facts, coding) if pair.label else facts


def holders(facts: Sequence[FileFacts], ids: Sequence[int] | np.ndarray) -> list[str]:
    """Label maps that hold any of these ids."""
    return [f.label for f in facts if f.has_ids and np.isin(f.ids, ids).any()]


def spread(items: Sequence[Any], limit: int) -> list[Any]:
    """At most `limit` items, evenly spread over all; 0 takes all."""
    if not limit or len(items) <= limit:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def _with_image(facts: FileFacts, decode: bool) -> FileFacts:
    try:
        size, format_name, orientation = _header(facts.image)
        if format_name == "TIFF" and orientation in (5, 6, 7, 8):
            # Pillow may have turned it already: the height that is seen is the width as stored.
            size = image_size(facts.image)
        if decode or not _is_complete(facts.image, format_name):
            read_image(facts.image)
    except (*_BROKEN, ValueError) as error:
        return replace(facts, image_error=_reason(error))
    return replace(facts, image_size=size, orientation=orientation)


def _header(path: str) -> tuple[tuple[int, int], str, int]:
    """(width, height), format and EXIF orientation."""
    try:
        with open_image(path) as image:
            # A PNG would be decoded whole to look for EXIF behind its pixels.
            may_turn = image.format != "PNG" or "exif" in image.info
            return image.size, image.format or "", orientation_of(image) if may_turn else 1
    except BrokenFileError:
        height, width = image_size(path)  # knows more kinds of TIFF
        return (width, height), "", 1


def _is_complete(path: str, format_name: str) -> bool:
    end = _ENDS.get(format_name)
    if end is None:
        return True
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _TAIL))
        return end in file.read()


def _with_label(facts: FileFacts, coding: LabelCoding | None) -> FileFacts:
    try:
        with open_image(facts.label, "Label map") as image:
            mode, size, format_name = image.mode, image.size, image.format or ""
        facts = replace(facts, label_mode=mode, label_size=size, label_format=format_name)
        raw = read_ids(facts.label) if coding is None else coding.read_raw(facts.label)
    except _BROKEN as error:
        return replace(facts, label_error=_reason(error), is_undecodable=True)
    except ValueError as error:
        return replace(facts, label_error=_reason(error), is_undecodable=not facts.label_mode)
    ids = raw
    if coding is not None:
        ids, is_strange = coding.decode(raw)
        strange = tuple(np.unique(raw[is_strange]).tolist())
        facts = replace(facts, strange=strange, strange_pixels=int(is_strange.sum()))
    present, counts = _count(ids.ravel())
    top, top_counts = _count(ids[0])
    return replace(facts, ids=present, counts=counts, top_id=int(top[top_counts.argmax()]))


def _count(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids that occur and how often; faster than np.unique where they fit 16 bits."""
    if values.min() < 0 or values.max() > 65535:
        return np.unique(values, return_counts=True)
    counts = np.bincount(values)
    present = np.flatnonzero(counts)
    return present, counts[present]


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return str(error) or type(error).__name__


class Histogram:
    """Pixels and images of every id over a whole data set.

    Attributes:
        ids: (k,) int64, rising.
        pixels: (k,) int64.
        images: (k,) int64, label maps that hold the id.
        num_images: label maps that were read.
        total: pixels of all of them.
    """

    def __init__(self, facts: Sequence[FileFacts]) -> None:
        read = [fact for fact in facts if fact.has_ids]
        none = np.zeros(0, dtype=np.int64)
        ids = np.concatenate([none, *(fact.ids for fact in read)])
        counts = np.concatenate([none, *(fact.counts for fact in read)])
        self.ids, places = np.unique(ids, return_inverse=True)
        size = len(self.ids)
        self.images = np.bincount(places, minlength=size)
        self.pixels = np.bincount(places, weights=counts, minlength=size).astype(np.int64)
        self.num_images = len(read)
        self.total = int(self.pixels.sum())

    def share(self, *ids: int) -> float:
        """Share of all pixels, in [0, 1], that these ids cover."""
        return float(self.pixels[np.isin(self.ids, ids)].sum()) / max(self.total, 1)

    def in_images(self, one_id: int) -> int:
        """Number of label maps that hold an id."""
        return int(self.images[self.ids == one_id].sum())
