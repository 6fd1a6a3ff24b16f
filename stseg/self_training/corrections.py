"""Regions whose class a person knows better than model and SAM, and labels with them put in.

An outline is written as corners x,y in pixels of the image, from its left upper corner; a ring
closes by itself, and further rings stand behind a semicolon. Inside is what an odd number of rings
goes around, so that a second ring in the first one is a hole:

    12,30 40,30 40,60 12,60; 20,40 30,40 30,50
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stseg.render import labels_at_size
from stseg.self_training.pseudo_label import ClassRecord, PseudoLabel
from stseg.structures import IGNORE_LABEL

#: What a region is called that gets no label.
NOTHING = "nothing"
#: What a record says of a class that a person gave, or took pixels from.
BY_HAND = "corrected by hand"
_CORNER = re.compile(r"[+-]?\d+(?:\.\d+)?\s*,\s*[+-]?\d+(?:\.\d+)?")

#: Corners (x, y) in pixels of the image; the last is joined to the first.
Ring = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Correction:
    """A person's word about a part of an image.

    Attributes:
        image: file name.
        rings: outline of the part; inside is what an odd number of them goes around.
        class_id: its class in every round, IGNORE_LABEL for none.
    """

    image: str
    rings: tuple[Ring, ...]
    class_id: int


def read_outline(text: str) -> tuple[Ring, ...]:
    """The rings of an outline as it is written.

    Raises:
        ValueError: for text that holds something else, or a ring of fewer than three corners.
    """
    rings = []
    for part in text.strip().rstrip(";").split(";"):
        if rest := _CORNER.sub("", part).strip():
            raise ValueError(f"expected corners as X,Y X,Y X,Y of an outline, got {rest[:30]!r}")
        pairs = (corner.split(",") for corner in _CORNER.findall(part))
        ring = tuple((float(x), float(y)) for x, y in pairs)
        if len(ring) < 3:
            raise ValueError(
                f"expected at least 3 corners in a ring, got {len(ring)} in {part.strip()!r}"
            )
        rings.append(ring)
    return tuple(rings)


def write_outline(rings: Iterable[Sequence[Sequence[float]]]) -> str:
    """Rings as `read_outline` reads them, at whole pixels."""
    return "; ".join(" ".join(f"{x:.0f},{y:.0f}" for x, y in ring) for ring in rings)


def fill_outline(labels: np.ndarray, rings: Sequence[Ring], value: int) -> np.ndarray:
    """Put a value into a map, in place, wherever a pixel's centre is inside an outline.

    Args:
        labels: (H, W) of any type.
        rings: in pixels of the map; what lies outside it is left out.
        value: to put in.

    Returns:
        The values that it took the place of, (N,).
    """
    corners = [np.array(ring, dtype=np.float64) for ring in rings]
    starts = np.concatenate(corners)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in corners])
    (left, top), (right, bottom) = _box(starts, labels.shape)
    if left >= right or top >= bottom:
        return labels[:0, 0]
    # The edges that the line through the centres of a row crosses, each once: half-open.
    first, last = (np.ceil(np.sort([starts[:, 1], ends[:, 1]], axis=0) - 0.5)).astype(np.int64)
    first, last = first.clip(top, bottom), last.clip(top, bottom)
    edges = np.repeat(np.arange(len(starts)), last - first)
    before = np.repeat(np.cumsum(last - first) - (last - first), last - first)
    rows = np.arange(len(edges)) - before + first[edges]
    (x, y), (dx, dy) = starts[edges].T, (ends - starts)[edges].T
    columns = np.ceil(x + (rows + 0.5 - y) / dy * dx - 0.5).astype(np.int64).clip(left, right)
    shape = (bottom - top, right - left + 1)
    places = (rows - top) * shape[1] + columns - left
    crossings = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
    inside = (crossings.cumsum(axis=1) % 2 == 1)[:, :-1]
    part = labels[top:bottom, left:right]
    replaced = part[inside]
    part[inside] = value
    return replaced


def _box(corners: np.ndarray, shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """Left upper and right lower corner of the pixels about some points, inside a map."""
    most = shape[::-1]
    low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    return low.clip(0, most).astype(int).tolist(), high.clip(0, most).astype(int).tolist()


def _commonest(class_ids: np.ndarray) -> int:
    """IGNORE_LABEL where there is none."""
    ids, counts = np.unique(class_ids, return_counts=True)
    return int(ids[counts.argmax()]) if len(ids) else IGNORE_LABEL


def corrected(
    label: PseudoLabel,
    corrections: Sequence[Correction],
    size: tuple[int, int],
    names: Sequence[str],
) -> PseudoLabel:
    """A pseudo-label with a person's corrections in it, the later above the earlier ones.

    Args:
        label: as model and SAM made it, of any size; left as it is.
        corrections: of its image.
        size: (H, W) of the image in pixels.
        names: T class names.

    Returns:
        With a map of that size, and records that say so; `label` itself without corrections. A
        class that a person gave counts as accepted, its pixels in full.
    """
    if not corrections:
        return label
    label_map, touched = labels_at_size(label.label_map, size).copy(), set()
    weights = None if label.weights is None else labels_at_size(label.weights, size).copy()
    for correction in corrections:
        if weights is not None:
            fill_outline(weights, correction.rings, 1)
        replaced = fill_outline(label_map, correction.rings, correction.class_id)
        # Others lose a pixel here and there along the outline.
        touched |= {correction.class_id, _commonest(replaced)}
    # Records count at the size at which the label was made.
    counted = labels_at_size(label_map, label.label_map.shape)
    pixels = np.bincount(counted[counted >= 0], minlength=len(names))
    given = {correction.class_id for correction in corrections} - {IGNORE_LABEL}
    records = {record.class_id: record for record in label.classes}
    for class_id in sorted(given - set(records)):
        records[class_id] = ClassRecord(class_id, names[class_id], 0.0, True, "", 0, 0)
    classes = []
    for class_id, record in records.items():
        record = replace(record, refined_pixels=int(pixels[class_id]))
        if class_id in touched:
            record = replace(record, remark=BY_HAND)
        if class_id in given:
            record = replace(record, accepted=True, reason="")
        classes.append(record)
    return replace(label, label_map=label_map, classes=tuple(classes), weights=weights)
