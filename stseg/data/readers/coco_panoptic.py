"""COCO panoptic: one JSON of segments and a PNG of segment ids per image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stseg.data.image_io import read_colours
from stseg.data.readers.annotations import (
    Annotations,
    Drawing,
    hash_of,
    read_json,
    refuse_missing,
)
from stseg.data.readers.coco_json import (
    KEYS,
    categories_by_id,
    drawings_of,
    entries_of,
    images_by_id,
    known_id,
    left_out,
)
from stseg.utils import some_of, spelling_on_disk


def read_panoptic(name: str, image_dir: Path, annotation: Path, label_dir: Path) -> Annotations:
    """Read a panoptic JSON; its PNG hold segment ids, R + 256 G + 65536 B, 0 for none.

    Args:
        name: of the data set, for messages.
        image_dir: folder of images.
        annotation: JSON.
        label_dir: folder of PNG.

    Returns:
        Annotations; names are the categories in the order of their ids. Images without
        annotations are left out.

    Raises:
        FileNotFoundError: if an image or a PNG is missing.
        ValueError: if the JSON is faulty; names file, entry and rule.
    """
    content, file_hash = read_json(annotation, KEYS, "a COCO panoptic file")
    images, categories = images_by_id(annotation, content), categories_by_id(annotation, content)
    segments: dict[Any, tuple[str, dict[int, str]]] = {}
    used: dict[str, str] = {}
    stamps, missing = [], []
    for entry in entries_of(annotation, content, "annotations"):
        where = f"{annotation}, annotation of {entry.get('file_name')}"
        image_id = known_id(entry, "image_id", images, where)
        if not isinstance(entry.get("segments_info"), list) or image_id in segments:
            raise ValueError(
                f"{where}: expected one list of 'segments_info' per image, got "
                f"{'a second one' if image_id in segments else 'none'}. Is it a panoptic file?"
            )
        labels = _labels(entry, categories, where)
        for label in labels.values():
            used.setdefault(label, where)
        stated = label_dir / str(entry.get("file_name"))
        png = spelling_on_disk(stated)
        if png is None:
            missing.append(stated.name)
            continue
        stat = os.stat(png)
        stamps.append([png.name, stat.st_size, stat.st_mtime_ns])
        segments[image_id] = (str(png), labels)
    refuse_missing(name, missing, label_dir, annotation)
    drawings = drawings_of(name, annotation, images, segments, image_dir)
    key = hash_of("coco_panoptic", file_hash, str(label_dir), stamps)
    names = tuple(categories.values())
    return Annotations(drawings, draw_panoptic, names, used, key, left_out(images, segments))


def _labels(entry: dict[str, Any], categories: Mapping[Any, str], where: str) -> dict[int, str]:
    """The label of every segment id of an image."""
    labels = {}
    for segment in entries_of(where, entry, "segments_info"):
        segment_id = segment.get("id")
        if not isinstance(segment_id, int) or not 0 < segment_id < 256**3:
            raise ValueError(
                f"{where}: expected segments with an 'id' from 1 to {256**3 - 1}, got "
                f"{segment_id!r}. Export it again."
            )
        labels[segment_id] = categories[known_id(segment, "category_id", categories, where)]
    return labels


def draw_panoptic(
    drawing: Drawing, size: tuple[int, int], ids: Mapping[str, int], fill: int
) -> np.ndarray:
    """Turn segment ids into class ids.

    Returns:
        (H, W) int32, class ids; `fill` where the PNG holds 0.

    Raises:
        ValueError: if the PNG is of another size or holds an id that the JSON does not list.
    """
    png, labels = drawing.content
    red, green, blue = np.moveaxis(read_colours(png, "Panoptic map").astype(np.int32), 2, 0)
    segments = red + 256 * green + 65536 * blue
    if segments.shape != size:
        raise ValueError(
            f"Panoptic map {png}: expected the size of its image {drawing.image}, {size[0]} x "
            f"{size[1]}, got {segments.shape[0]} x {segments.shape[1]} (height x width)."
        )
    known = np.array(sorted({0, *labels}), dtype=np.int32)
    values = np.array(
        [ids[labels[i]] if i in labels else fill for i in known.tolist()], dtype=np.int32
    )
    place = np.searchsorted(known, segments).clip(max=len(known) - 1)
    wrong = np.unique(segments[known[place] != segments])
    if wrong.size:
        raise ValueError(
            f"Panoptic map {png}: expected the segment ids that {drawing.source} lists (or 0), "
            f"got {some_of(wrong)}. Take PNG and JSON of one export, and do not "
            "resize with smoothing."
        )
    return values[place]
