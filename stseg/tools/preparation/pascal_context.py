"""PASCAL-Context: 59 classes from PASCAL in Detail and the 49 seen ones of the zero-shot split.

The 459 are from the original label maps.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from stseg.tools.preparation.image_files import Encoder, map_bytes, paint, read_mat
from stseg.tools.preparation.label_encoders import (
    pascal_context_59,
    pascal_context_59_base,
    pascal_context_459,
)
from stseg.tools.preparation.tasks import (
    Benchmark,
    MissingDataError,
    Task,
    raw_file,
    raw_files,
    read_stems,
)

_IMAGES = """\
Official source of the images: http://host.robots.ox.ac.uk/pascal/VOC/voc2010/
  http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar"""

_DOWNLOAD_59 = f"""\
{_IMAGES}
Official source of the annotations (PASCAL in Detail): https://sites.google.com/view/pasd/dataset
  https://codalabuser.blob.core.windows.net/public/trainval_merged.json
Expected below the root:
  VOCdevkit/VOC2010/JPEGImages/*.jpg
  VOCdevkit/VOC2010/trainval_merged.json     4996 images for training, 5104 for validation"""

_DOWNLOAD_459 = f"""\
{_IMAGES}
Official source of the annotations: https://www.cs.stanford.edu/~roozbeh/pascal-context/
  https://www.cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz
Expected below the root:
  VOCdevkit/VOC2010/JPEGImages/*.jpg
  VOCdevkit/VOC2010/trainval/*.mat
and, for the names of a split, the first of
  VOCdevkit/VOC2010/pascalcontext_{{train,val}}.txt           the peers' repositories have val
  VOCdevkit/VOC2010/trainval_merged.json                    see prepare_pascal_context_59.py
  VOCdevkit/VOC2010/ImageSets/Main/{{train,val}}.txt          one more image than the others"""

_FOLDER = "VOCdevkit/VOC2010"
_DETAIL = f"{_FOLDER}/trainval_merged.json"
_SPLITS = ("train", "val")


def _maps_59(root: Path, split: str, folder: str, encoder: Encoder) -> list[Task]:
    source = raw_file(root, _DETAIL)
    images, masks = _read_detail(source)
    tasks = [
        Task(
            source,
            (f"{_FOLDER}/{folder}/pc59_{split}/{stem}.png",),
            paint_59,
            (stem, *size, tuple(masks.get(image_id, ())), encoder),
        )
        for stem, (image_id, phase, size) in sorted(images.items())
        if phase == split
    ]
    if not tasks:
        raise MissingDataError(f"expected images of phase {split!r} in {source}, got none")
    return tasks


#: Stem: id, phase, (height, width).
_Images = dict[str, tuple[int, str, tuple[int, int]]]
#: Image id: [(number, runs)].
_Masks = dict[int, list[tuple[int, Any]]]


def _read_detail(path: Path) -> tuple[_Images, _Masks]:
    """Images and masks of PASCAL in Detail. Kept, for the file has some hundred megabytes.

    Raises:
        ValueError: if it is not that annotation file.
    """
    return _parse_detail(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _parse_detail(path: Path, changed: int) -> tuple[_Images, _Masks]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {
            Path(entry["file_name"]).stem: (
                entry["image_id"],
                entry["phase"],
                (entry["height"], entry["width"]),
            )
            for entry in content["images"]
        }
        masks = defaultdict(list)
        for entry in content["annos_segmentation"]:
            masks[entry["image_id"]].append((entry["category_id"], entry["segmentation"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected the annotations of PASCAL in Detail, got {error!r}. Take "
            "trainval_merged.json anew."
        ) from error
    return images, dict(masks)


def paint_59(
    source: Path,
    stem: str,
    height: int,
    width: int,
    masks: tuple[tuple[int, Any], ...],
    encoder: Encoder,
) -> list[bytes]:
    """An image's masks as a label map of 59 classes; all 255 where it has none."""
    try:
        return [map_bytes(encoder(paint(height, width, masks)))]
    except ValueError as error:
        raise ValueError(f"image {stem}: {error}") from error


def _maps_459(root: Path, split: str) -> list[Task]:
    raw_files(root, f"{_FOLDER}/trainval", "*.mat")  # says what to fetch if there are none
    return [
        Task(
            root / _FOLDER / "trainval" / f"{stem}.mat",
            (f"{_FOLDER}/annotations_detectron2/pc459_{split}/{stem}.tif",),
            recode_459,
        )
        for stem in _names(root, split)
    ]


def _names(root: Path, split: str) -> list[str]:
    lists = (f"pascalcontext_{split}.txt", "trainval_merged.json", f"ImageSets/Main/{split}.txt")
    source = raw_file(root, *(f"{_FOLDER}/{name}" for name in lists))
    if source.suffix == ".txt":
        return read_stems(source)
    images, _ = _read_detail(source)
    stems = sorted(stem for stem, (_, phase, _) in images.items() if phase == split)
    if not stems:
        raise MissingDataError(f"expected images of phase {split!r} in {source}, got none")
    return stems


def recode_459(source: Path) -> list[bytes]:
    """A LabelMap as a label map of 459 classes."""
    return [map_bytes(pascal_context_459(read_mat(source, "LabelMap")))]


_whole = partial(_maps_59, folder="annotations_detectron2", encoder=pascal_context_59)
_base = partial(_maps_59, folder="annotations_detectron2_base", encoder=pascal_context_59_base)

PASCAL_CONTEXT_59 = Benchmark(
    title="PASCAL-Context-59",
    download=_DOWNLOAD_59,
    splits={
        **{split: partial(_whole, split=split) for split in _SPLITS},
        "train_base": partial(_base, split="train"),
    },
)
PASCAL_CONTEXT_459 = Benchmark(
    title="PASCAL-Context-459",
    download=_DOWNLOAD_459,
    splits={split: partial(_maps_459, split=split) for split in _SPLITS},
)
