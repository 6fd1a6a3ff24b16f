"""What the readers of annotation files have in common: JSON, sizes, labels and class ids."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from stseg.structures import IGNORE_LABEL, Vocabulary
from stseg.utils import name_key, parse_json, read_text, some_of, spelling_on_disk


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
        ValueError: if it is not JSON in UTF-8, no object, or lacks a key.
    """
    text = read_text(path, str(path))
    try:
        content = parse_json(text)
    except ValueError as error:
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
    return content, hashlib.sha256(text.encode("utf-8")).hexdigest()


def hash_of(*parts: Any) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def stated_size(content: Mapping[str, Any], height: str, width: str) -> tuple[int, int] | None:
    """(height, width) of an image as its annotation states them; None where it does not."""
    high, wide = content.get(height), content.get(width)
    is_stated = isinstance(high, int) and isinstance(wide, int) and min(high, wide) > 0
    return (high, wide) if is_stated else None  # type: ignore[return-value]


def points_of(values: Any, where: str) -> list[tuple[float, float]]:
    """Corners of a shape out of [[x, y], ...].

    Raises:
        ValueError: if they are no finite numbers.
    """
    try:
        points = [(float(x), float(y)) for x, y in values]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: expected points [x, y], got {str(values)[:60]}. Correct or remove the shape."
        ) from error
    if not all(math.isfinite(v) for point in points for v in point):
        raise ValueError(
            f"{where}: expected points of finite numbers, got {str(values)[:60]}. Correct or "
            "remove the shape."
        )
    return points


def without_missing(
    name: str, missing: Sequence[str], folder: Path, source: Path, skip: bool
) -> list[str]:
    """Refuse annotations of images that are not there, or count them.

    Returns:
        A note on those that are left out.

    Raises:
        FileNotFoundError: unless `skip`; names the first of them.
    """
    if missing and not skip:
        raise FileNotFoundError(
            f"Data set {name}: expected the images that {source} describes in {folder}, got "
            f"nothing for {some_of(missing)}. Add them, remove their annotations, or give "
            "skip_missing=true, which leaves them out."
        )
    return left_out(missing, "annotations of images that are not there")


def left_out(entries: Sequence[str], what: str) -> list[str]:
    """A note on what is left out, with some of it; none where nothing is."""
    if not entries:
        return []
    return [f"left out: {len(entries)} {what} ({some_of(entries, 3)})"]


def place_of(text: str, folder: Path) -> tuple[Path | None, str]:
    """Where a file lies that an annotation names, be it by a path of another machine or a URL.

    Args:
        text: "city/1.jpg", "C:/data/city/1.jpg" (also with backslashes), "/home/her/city/1.jpg" or
            "https://host/city/1.jpg?x".
        folder: that it should lie in; as much of the path is looked for as is there.

    Returns:
        The file, None if there is none; and a name for its label map, without suffix, with "/",
        that leads nowhere else.
    """
    if "://" in text:
        text = unquote(urlsplit(text).path)
    plain = re.sub(r"^[A-Za-z]:", "", text.replace("\\", "/"))
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    here = folder / text.replace("\\", "/")
    if os.path.isfile(here) and not here.resolve().is_relative_to(folder.resolve()):
        return here, here.stem  # a path of this machine, or one that leads out of the folder
    parts = parts[max((i + 1 for i, part in enumerate(parts) if part == ".."), default=0) :]
    for first in range(len(parts)):
        place = spelling_on_disk(folder.joinpath(*parts[first:]))
        if place is not None:
            return place, "/".join([*parts[first:-1], place.stem])
    return None, ""


def refuse_same_stem(name: str, drawings: Sequence[Drawing]) -> None:
    """Refuse two annotations of one image, or whose label maps would be one file.

    Raises:
        ValueError: names both.
    """
    found: dict[str, Drawing] = {}
    for drawing in drawings:
        for key in (drawing.stem, drawing.image):
            other = found.setdefault(key, drawing)
            if other is not drawing:
                raise ValueError(
                    f"Data set {name}: expected one annotation per image name, got {other.source} "
                    f"and {drawing.source} for {drawing.stem}. Remove or rename one, or join them."
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
