"""COCO: one JSON of images, annotations and categories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pycocotools import mask as mask_utils

from stseg.exports.labelled import MADE_BY, Labelled, masks, refuse_strange
from stseg.utils import as_bytes, write_atomically


def coco_content(
    label_map: np.ndarray, names: Sequence[str], image_id: int = 1, file_name: str = ""
) -> dict[str, Any]:
    """What `Segmentation.to_coco` gives.

    Args:
        label_map: (H, W) integers, index into `names`; -1 where unknown.
        names: T class names.
        image_id: of the image.
        file_name: of the image.
    """
    annotations = _annotations(label_map, image_id, first_id=1)
    return {
        "images": [_image(label_map, image_id, file_name)],
        "annotations": annotations,
        "categories": _categories(names),
    }


def write_coco(names: Sequence[str], results: Iterable[Labelled], folder: Path) -> list[Path]:
    """Write `annotations.json`: a mask per class and image; category ids are class ids plus 1.

    Only the images' own entries are kept until the end; annotations are written as they come.
    """
    path = folder / "annotations.json"
    refuse_strange(path)

    def write(file: BinaryIO) -> None:
        head = {"info": {"description": MADE_BY}, "categories": _categories(names)}
        file.write(_json(head)[:-1] + b', "annotations": [')
        images: list[dict[str, Any]] = []
        count = 0
        for image_id, result in enumerate(results, start=1):
            images.append(_image(result.label_map, image_id, result.file_name))
            for annotation in _annotations(result.label_map, image_id, first_id=count + 1):
                file.write((b",\n" if count else b"\n") + _json(annotation))
                count += 1
        file.write(b'],\n"images": ' + _json(images) + b"}\n")

    write_atomically(path, write)
    return [path]


def _image(label_map: np.ndarray, image_id: int, file_name: str) -> dict[str, Any]:
    height, width = label_map.shape
    return {"id": image_id, "file_name": file_name, "height": height, "width": width}


def _categories(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": i, "name": name} for i, name in enumerate(names, start=1)]


def _annotations(label_map: np.ndarray, image_id: int, first_id: int) -> list[dict[str, Any]]:
    """One per class, in run lengths; no "crowd", which most programs leave out of training."""
    found = []
    for number, (class_id, mask) in enumerate(masks(label_map), start=first_id):
        runs = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
        found.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": class_id + 1,
                "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode()},
                "area": int(mask.sum()),
                "bbox": mask_utils.toBbox(runs).tolist(),
                "iscrowd": 0,
            }
        )
    return found


def _json(content: Any) -> bytes:
    return as_bytes(json.dumps(content, ensure_ascii=False))
