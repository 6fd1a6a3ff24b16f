"""labelme: a JSON of polygons per image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from stseg.exports.labelled import MADE_BY, Labelled, masks, stem_of, write_new
from stseg.exports.outlines import solid_outlines
from stseg.utils import as_bytes


def write_labelme(names: Sequence[str], results: Iterable[Labelled], folder: Path) -> list[Path]:
    """Write `<stem>.json` for every image.

    A polygon is a part of a region without holes, through the centres of its outline's pixels; one
    with holes is cut through them. "imagePath" leads to the image where `path` or `file_name`
    does, and is its bare name otherwise.
    """
    files = []
    for result in results:
        height, width = result.label_map.shape
        path = folder / f"{stem_of(result)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "version": "5.0.0",
            "description": MADE_BY,
            "flags": {},
            "imagePath": _image_path(
                Path(getattr(result, "path", "") or result.file_name), path.parent
            ),
            "imageHeight": height,
            "imageWidth": width,
            "imageData": None,
            "shapes": [
                {
                    "label": names[class_id],
                    "points": outline.astype(float).tolist(),
                    "group_id": None,
                    "shape_type": "polygon",
                    "flags": {},
                }
                for class_id, mask in masks(result.label_map)
                for outline in solid_outlines(mask)
            ],
        }
        write_new(path, as_bytes(json.dumps(content, ensure_ascii=False)))
        files.append(path)
    return files


def _image_path(image: Path, folder: Path) -> str:
    if not image.is_file():
        return image.name
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return str(image.resolve())
