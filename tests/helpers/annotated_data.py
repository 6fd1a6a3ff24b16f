"""Small data sets in the formats of annotation tools, written by the tests themselves.

All hold images of 24 x 32 pixels: "dark" everywhere, a "bright" block on it.
"""

import json
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog
from PIL import Image

from stseg.data.datasets import dataset_label_reader
from stseg.data.readers import register_data

HEIGHT, WIDTH = 24, 32
NAMES = ("bright", "dark")


def truth(number: int) -> np.ndarray:
    """(H, W) ids into NAMES."""
    label = np.ones((HEIGHT, WIDTH), np.uint8)
    label[4:12, 4 + number : 14 + number] = 0
    return label


def write_images(folder: Path, count: int) -> None:
    """Write <number>.png that show the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        grey = np.where(truth(number) == 0, 220, 40).astype(np.uint8)
        Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(folder / f"{number:02d}.png")


def shape(label: str, points: list, kind: str = "polygon", **more) -> dict:
    """A shape as labelme writes it."""
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def block(number: int) -> list:
    """Corners of the bright block; labelme counts the outline in."""
    return [[4 + number, 4], [13 + number, 11]]


def labelme_json(number: int) -> dict:
    """What labelme writes for an image."""
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": [
            shape("dark", [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]]),
            shape("bright", block(number), "rectangle"),
        ],
        "imagePath": f"{number:02d}.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }


def write_json(path: Path, content) -> Path:
    """Write `content`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_labelme(root: Path, count: int = 4) -> Path:
    """Images and their JSON in one folder."""
    write_images(root, count)
    for number in range(count):
        write_json(root / f"{number:02d}.json", labelme_json(number))
    return root


def _images(count: int) -> list[dict]:
    return [
        {"id": 100 + n, "file_name": f"{n:02d}.png", "height": HEIGHT, "width": WIDTH}
        for n in range(count)
    ]


def coco_json(count: int) -> dict:
    """Instances: a polygon around everything, run lengths of the block."""
    annotations = []
    for number in range(count):
        column_major = (truth(number) == 0).astype(np.uint8).T.ravel()
        edges = np.flatnonzero(np.diff(column_major)) + 1
        counts = np.diff([0, *edges, column_major.size]).tolist()
        everything = [0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]
        shapes = ({"counts": counts, "size": [HEIGHT, WIDTH]}, [everything])
        for category, segmentation in zip((3, 7), shapes, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 100 + number,
                    "category_id": category,
                    "segmentation": segmentation,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 7, "name": "dark"}, {"id": 3, "name": "bright"}]
    return {"images": _images(count), "annotations": annotations, "categories": categories}


def write_coco(root: Path, count: int = 4) -> Path:
    """images/ and annotations/instances.json."""
    write_images(root / "images", count)
    write_json(root / "annotations" / "instances.json", coco_json(count))
    return root


SEGMENTS = {70_000: 3, 300: 7}


def write_panoptic(root: Path, count: int = 4) -> Path:
    """images/, panoptic.json and panoptic/; the segment ids need all three channels."""
    write_images(root / "images", count)
    (root / "panoptic").mkdir(parents=True)
    annotations = []
    for number in range(count):
        ids = np.where(truth(number) == 0, 70_000, 300)
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
        Image.fromarray(colours).save(root / "panoptic" / f"{number:02d}.png")
        segments = [{"id": i, "category_id": c, "iscrowd": 0} for i, c in SEGMENTS.items()]
        annotations.append(
            {
                "image_id": 100 + number,
                "file_name": f"{number:02d}.png",
                "segments_info": segments,
            }
        )
    content = coco_json(count) | {"annotations": annotations}
    write_json(root / "panoptic.json", content)
    return root


def write_plain(root: Path, count: int = 4) -> Path:
    """images/, labels/ and names.txt."""
    write_images(root / "images", count)
    (root / "labels").mkdir(parents=True)
    for number in range(count):
        Image.fromarray(truth(number)).save(root / "labels" / f"{number:02d}.png")
    (root / "names.txt").write_text("\n".join(NAMES))
    return root


WRITERS = {
    "folder": write_plain,
    "labelme": write_labelme,
    "coco": write_coco,
    "coco_panoptic": write_panoptic,
}


def register(path: Path, kind: str, **more) -> str:
    """Register a folder as "mine"."""
    return register_data({"name": "mine", "format": kind, "path": str(path), **more})


def label_maps() -> list[np.ndarray]:
    """Label maps of "mine" in the order of its records, as mapper and evaluator read them."""
    read = dataset_label_reader("mine")
    return [read(r["sem_seg_file_name"]) for r in DatasetCatalog.get("mine")]
