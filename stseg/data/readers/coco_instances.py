"""COCO instances: one JSON of polygons or run lengths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from stseg.data.readers.annotations import (
    Annotations,
    Drawing,
    hash_of,
    left_out,
    points_of,
    read_json,
)
from stseg.data.readers.coco_json import (
    KEYS,
    categories_by_id,
    class_names,
    drawings_of,
    entries_of,
    images_by_id,
    known_id,
    refers_well,
)
from stseg.data.readers.polygons import clip_polygon

_LEAST = 6  # numbers of a polygon: three points


def read_coco(
    name: str, image_dir: Path, annotation: Path, skip_missing: bool = False
) -> Annotations:
    """Read instances: polygons, uncompressed or compressed run lengths, crowds too.

    Args:
        name: of the data set, for messages.
        image_dir: "file_name" leads on from here.
        annotation: JSON.
        skip_missing: annotations of images or categories that are not there are left out.

    Returns:
        Annotations; names are the categories in the order of their ids. Images without
        annotations are left out, and annotations without an area.

    Raises:
        FileNotFoundError: if an image is missing.
        ValueError: if the JSON is faulty; names file, entry and rule.
    """
    content, file_hash = read_json(annotation, KEYS, "a COCO file")
    images, categories = images_by_id(annotation, content), categories_by_id(annotation, content)
    shapes: dict[Any, list[tuple[str, Any]]] = {}
    used: dict[str, str] = {}
    stubs, strays = [], []
    for entry in entries_of(annotation, content, "annotations"):
        where = f"{annotation}, annotation {entry.get('id')}"
        if skip_missing and not refers_well(entry, images, categories):
            strays.append(f"annotation {entry.get('id')}")
            continue
        image_id = known_id(entry, "image_id", images, where)
        label = categories[known_id(entry, "category_id", categories, where)]
        shape = _segmentation(entry.get("segmentation"), where)
        if not shape:
            stubs.append(f"annotation {entry.get('id')}")
            continue
        used.setdefault(label, where)
        shapes.setdefault(image_id, []).append((label, shape))
    drawings, notes = drawings_of(name, annotation, images, shapes, image_dir, skip_missing)
    names, notes_of_names = class_names(content, categories, used)
    notes += left_out(stubs, f"of {len(content['annotations'])} annotations, which have no area")
    notes += left_out(strays, "annotations of images or categories that the file lacks")
    key = hash_of("coco", file_hash, skip_missing)
    return Annotations(drawings, draw_coco, names, used, key, notes + notes_of_names)


def _segmentation(shape: Any, where: str) -> Any:
    """Polygons as lists of numbers, or run lengths as they are; [] where nothing covers an area."""
    if isinstance(shape, dict) and {"counts", "size"} <= shape.keys():
        return shape
    if shape is None or shape == {}:
        return []
    if not isinstance(shape, list):
        raise ValueError(
            f"{where}: expected a 'segmentation' of polygons or run lengths, got "
            f"{str(shape)[:40]}. Boxes alone cannot be used; export masks, or remove it."
        )
    for polygon in shape:
        values = polygon if isinstance(polygon, list) else [polygon]
        if len(values) % 2:
            raise ValueError(
                f"{where}: expected a polygon x1, y1, x2, y2, ..., got {len(values)} numbers. "
                "Correct or remove it."
            )
        points_of(list(zip(values[::2], values[1::2], strict=True)), where)
    return [polygon for polygon in shape if len(polygon) >= _LEAST]


def draw_coco(
    drawing: Drawing, size: tuple[int, int], ids: Mapping[str, int], fill: int
) -> np.ndarray:
    """Draw the masks, larger ones first, so that of two that overlap the smaller one is seen.

    COCO has no order of depth. Of masks of one size the later one is seen.

    Returns:
        (H, W) int32, class ids; `fill` where no mask lies.

    Raises:
        ValueError: if run lengths do not fit the image.
    """
    masks = [(ids[label], _run_lengths(shape, size, drawing)) for label, shape in drawing.content]
    areas = [int(mask_utils.area(mask)) for _, mask in masks]
    canvas = np.full(size, fill, dtype=np.int32)
    for i in sorted(range(len(masks)), key=lambda i: -areas[i]):
        try:
            canvas[mask_utils.decode(masks[i][1]) > 0] = masks[i][0]
        except ValueError as error:
            raise _bad_run_lengths(drawing, size, error) from error
    return canvas


def _run_lengths(shape: Any, size: tuple[int, int], drawing: Drawing) -> Any:
    height, width = size
    try:
        if isinstance(shape, list):
            return _polygons(shape, height, width)
        if list(shape["size"]) != [height, width]:
            raise ValueError(f"size {shape['size']}")
        is_text = isinstance(shape["counts"], (str, bytes))
        counts = _decompressed(shape["counts"]) if is_text else shape["counts"]
        if sum(counts) != height * width or min(counts, default=0) < 0:
            raise ValueError(f"{sum(counts)} pixels")
        return shape if is_text else mask_utils.frPyObjects(shape, height, width)
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad_run_lengths(drawing, size, error) from error


def _polygons(shape: list[list[float]], height: int, width: int) -> Any:
    """Run lengths of polygons, the empty ones where all lie far outside the image."""
    clipped = (clip_polygon(_points(polygon), height, width) for polygon in shape)
    near = [[value for point in points for value in point] for points in clipped if points]
    if not near:
        empty = {"counts": [height * width], "size": [height, width]}
        return mask_utils.frPyObjects(empty, height, width)
    return mask_utils.merge(mask_utils.frPyObjects(near, height, width))


def _points(polygon: list[float]) -> list[tuple[float, float]]:
    return list(zip(map(float, polygon[::2]), map(float, polygon[1::2]), strict=True))


def _decompressed(text: str | bytes) -> list[int]:
    """Run lengths out of COCO's text, to be summed: pycocotools trusts them.

    Five bits a character, low ones first, the sixth says that more follow; from the fourth run on
    the difference to the run before last is stored.
    """
    raw = text.encode() if isinstance(text, str) else text
    counts: list[int] = []
    value = shift = 0
    for byte in raw:
        bits = byte - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def _bad_run_lengths(drawing: Drawing, size: tuple[int, int], error: Exception) -> ValueError:
    return ValueError(
        f"{drawing.source}: expected masks of {size[0]} x {size[1]} (height x width), got {error}. "
        "Export it again, or remove the annotation."
    )
