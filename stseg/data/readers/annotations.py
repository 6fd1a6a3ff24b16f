"""What the readers of annotation files have in common: JSON, sizes, labels and class ids."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stseg.structures import IGNORE_LABEL, Vocabulary
from stseg.utils import name_key, parse_json, some_of


@dataclass(frozen=True)
class Drawing:
    """An image whose label map is to be drawn.

    Attributes:
        image: absolute path.
        stem: path of the label map without suffix, with "/", below the folder of label maps.
        source: the file and entry that the map comes from, for messages.
        content: what the format's `draw` takes.
        size: (height, width) that the annotation states, None where it does not.
    """

    image: str
    stem: str
    source: str
    content: Any
    size: tuple[int, int] | None = None


#: (drawing, (height, width), label -> class id or IGNORE_LABEL, id of pixels without a shape) ->
#: (H, W) integers.
Draw = Callable[[Drawing, tuple[int, int], Mapping[str, int], int], np.ndarray]


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation in one form for all formats.

    Attributes:
        drawings: one per image, sorted by stem.
        draw: turns one into a label map.
        names: of the classes, where the user gives none.
        used: labels that occur, each with the place where it was met first.
        key: hash of all that decides the label maps but the class ids.
        notes: what was left out, for the log.
    """

    drawings: list[Drawing]
    draw: Draw
    names: tuple[str, ...]
    used: dict[str, str]
    key: str
    notes: list[str] = field(default_factory=list)


def read_json(path: Path, keys: Sequence[str], what: str) -> tuple[dict[str, Any], str]:
    """Read a JSON object that must hold some keys.

    Args:
        path: file.
        keys: that it must hold.
        what: it is, for messages, such as "a labelme file".

    Returns:
        The object, and the hash of the file.

    Raises:
        ValueError: if it is not JSON, no object, or lacks a key.
    """
    raw = path.read_bytes()
    try:
        content = parse_json(raw)
    except ValueError as error:  # also bytes that are not text
        raise ValueError(
            f"{path}: expected JSON, got text that is not: {error}. Export it again, or remove it."
        ) from error
    lacking = [key for key in keys if not isinstance(content, dict) or key not in content]
    if lacking:
        got = f"keys {', '.join(list(content)[:8])}" if isinstance(content, dict) else "no object"
        raise ValueError(
            f"{path}: expected {what} with {', '.join(keys)}, got {got}. Export it in this "
            "format, or remove it from the folder."
        )
    return content, hashlib.sha256(raw).hexdigest()


def hash_of(*parts: Any) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def stated_size(content: Mapping[str, Any], height: str, width: str) -> tuple[int, int] | None:
    """(height, width) of an image as its annotation states them; None where it does not."""
    high, wide = content.get(height), content.get(width)
    is_stated = isinstance(high, int) and isinstance(wide, int) and min(high, wide) > 0
    return (high, wide) if is_stated else None  # type: ignore[return-value]


def points_of(values: Any, where: str, least: int = 3) -> list[tuple[float, float]]:
    """Corners of a shape out of [[x, y], ...].

    Raises:
        ValueError: if there are fewer than `least`, or they are no finite numbers.
    """
    try:
        points = [(float(x), float(y)) for x, y in values]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: expected points [x, y], got {str(values)[:60]}. Correct or remove the shape."
        ) from error
    if len(points) < least or not all(math.isfinite(v) for point in points for v in point):
        raise ValueError(
            f"{where}: expected {least} points or more, all finite numbers, got {len(points)} "
            f"({str(values)[:60]}). Correct or remove the shape."
        )
    return points


def refuse_missing(name: str, missing: Sequence[str], folder: Path, source: Path) -> None:
    """Refuse annotations of images that are not there.

    Raises:
        FileNotFoundError: names the first of them.
    """
    if missing:
        raise FileNotFoundError(
            f"Data set {name}: expected the images that {source} describes in {folder}, got "
            f"nothing for {some_of(missing)}. Add them, or remove their annotations."
        )


def refuse_same_stem(name: str, drawings: Sequence[Drawing]) -> None:
    """Refuse two annotations whose label maps would be one file.

    Raises:
        ValueError: names both.
    """
    found: dict[str, Drawing] = {}
    for drawing in drawings:
        other = found.setdefault(drawing.stem, drawing)
        if other is not drawing:
            raise ValueError(
                f"Data set {name}: expected one annotation per image name, got {other.source} "
                f"and {drawing.source} for {drawing.stem}. Remove or rename one."
            )


def class_ids(
    name: str, vocabulary: Vocabulary, used: Mapping[str, str], ignore: Iterable[str]
) -> dict[str, int]:
    """The class id of every label that occurs.

    A label is a display name or else a synonym of one class only; case and blanks do not count.

    Args:
        name: of the data set, for messages.
        vocabulary: gives the ids.
        used: labels, each with the place where it was met.
        ignore: labels without a class.

    Returns:
        Class ids, `IGNORE_LABEL` for the labels in `ignore`.

    Raises:
        ValueError: if a label is neither a name nor ignored; names its place.
    """
    table: dict[str, int] = {}
    for position, synonyms in enumerate(vocabulary.synonyms):
        for synonym in synonyms:
            key = folded(synonym)
            table[key] = position if table.get(key, position) == position else IGNORE_LABEL - 1
    table.update({folded(n): i for i, n in reversed(list(enumerate(vocabulary.names)))})
    table.update({folded(label): IGNORE_LABEL for label in ignore})
    ids = {label: table.get(folded(label), IGNORE_LABEL - 1) for label in used}
    unknown = [label for label, class_id in ids.items() if class_id < IGNORE_LABEL]
    if unknown:
        raise ValueError(
            f"Data set {name}, {used[unknown[0]]}: expected a label out of the "
            f"{len(vocabulary)} names ({some_of(vocabulary.names)}), got "
            f"{some_of([repr(label) for label in unknown])}. Add it to the names, or to 'ignore'."
        )
    return ids


def folded(label: str) -> str:
    """A label without what does not count: case, blanks, Unicode forms."""
    return name_key(label)
