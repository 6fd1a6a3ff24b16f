"""ADE20K: the 150 classes of the scene parsing benchmark, and 847 of the full release of 2021.

Of these also the 572 seen ones of the zero-shot split.
"""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from stseg.tools.preparation.image_files import Encoder, jpeg_bytes, map_bytes, recode
from stseg.tools.preparation.label_encoders import ade20k_150, ade20k_847, ade20k_847_base
from stseg.tools.preparation.tasks import Benchmark, MissingDataError, Task, raw_file, raw_files

_DOWNLOAD_150 = """\
Official source: http://sceneparsing.csail.mit.edu
  http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip
Expected below the root:
  ADEChallengeData2016/images/{training,validation}/*.jpg         20210 and 2000 images
  ADEChallengeData2016/annotations/{training,validation}/*.png"""

_DOWNLOAD_FULL = """\
Official source (registration needed): https://groups.csail.mit.edu/vision/datasets/ADE20K/
  ADE20K_2021_17_01.zip
Expected below the root:
  ADE20K_2021_17_01/index_ade20k.pkl
  ADE20K_2021_17_01/images/ADE/{training,validation}/.../ADE_{train,val}_*.jpg   25574 and 2000
  and beside each image its *_seg.png"""

_FULL = "ADE20K_2021_17_01"
_SIDE = 512
_MARKS = {"training": "train", "validation": "val"}


def _maps_150(root: Path, split: str) -> list[Task]:
    folder = "ADEChallengeData2016"
    return [
        Task(path, (f"{folder}/annotations_detectron2/{split}/{path.name}",), recode, (ade20k_150,))
        for path in raw_files(root, f"{folder}/annotations/{split}")
    ]


def _pairs_full(root: Path, split: str) -> list[Task]:
    tasks = []
    for source in _images_full(root, split):
        image = f"{_FULL}/images_detectron2/{split}/{source.name}"
        label = f"{_FULL}/annotations_detectron2/{split}/{source.stem}.tif"
        tasks.append(Task(source, (image, label), shrink_pair))
    return tasks


def _base_full(root: Path, split: str) -> list[Task]:
    """Label maps alone: the images are those of the whole split."""
    folder = f"{_FULL}/annotations_detectron2_base/{split}"
    return [
        Task(source, (f"{folder}/{source.stem}.tif",), shrink_base)
        for source in _images_full(root, split)
    ]


def _images_full(root: Path, split: str) -> list[Path]:
    """Raw images of a split, sorted."""
    index_file = raw_file(root, f"{_FULL}/index_ade20k.pkl")
    index = read_index(index_file)
    images = [
        root / folder / name
        for folder, name in sorted(zip(index["folder"], index["filename"], strict=True))
        if name.split("_")[1] == _MARKS[split]
    ]
    if not images:
        raise MissingDataError(f"expected ADE_{_MARKS[split]}_* in {index_file}, got none")
    return images


class _Inert(dict):
    """Stands for objects of a pickle that nobody here needs."""

    def __init__(self, *args: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, text and arrays; a pickle from the net must not run code of its choice."""

    _ALLOWED = {"numpy.ndarray", "numpy.dtype", "_codecs.encode"} | {
        f"numpy.{core}.{function}"
        for core in ("core", "_core")
        for function in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
    }

    def find_class(self, module: str, name: str) -> object:
        """NumPy's makers of arrays; everything else is inert."""
        if f"{module}.{name}" in self._ALLOWED:
            return super().find_class(module, name)
        return _Inert


def read_index(path: Path) -> dict[str, list[str]]:
    """The index of the full release: "folder" and "filename" of every image.

    Raises:
        ValueError: if it is not such an index.
    """
    try:
        with open(path, "rb") as file:
            index = _PlainUnpickler(file).load()
        return {key: [str(value) for value in index[key]] for key in ("folder", "filename")}
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected the index of ADE20K 2021_17_01, got {error}. Unpack it anew."
        ) from error


def shrink_pair(source: Path) -> list[bytes]:
    """Image and label map with the short side 512 where both sides are longer.

    The rules are those of the peers to the pixel: OpenCV's bilinear for the image, as the file
    holds it (EXIF orientation left alone, for the label map knows none), its nearest neighbour for
    the ids.
    """
    with Image.open(source) as file:
        image = np.array(file if file.mode in ("L", "RGB") else file.convert("RGB"))
    label_map = _ids_beside(source, ade20k_847)
    if image.shape[:2] != label_map.shape:
        raise ValueError(
            f"expected an image of its label map's size, got {image.shape[:2]} and "
            f"{label_map.shape} (height, width). Unpack both anew."
        )
    return [
        jpeg_bytes(_shrunk(image, cv2.INTER_LINEAR)),
        map_bytes(_shrunk(label_map, cv2.INTER_NEAREST)),
    ]


def shrink_base(source: Path) -> list[bytes]:
    """The label map of `shrink_pair` without unseen classes."""
    return [map_bytes(_shrunk(_ids_beside(source, ade20k_847_base), cv2.INTER_NEAREST))]


def _ids_beside(image: Path, encoder: Encoder) -> np.ndarray:
    """(H, W) uint16 of the *_seg.png of an image."""
    with Image.open(image.with_name(f"{image.stem}_seg.png")) as file:
        return encoder(np.array(file))


def _shrunk(pixels: np.ndarray, interpolation: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    short = min(height, width)
    if short <= _SIDE:
        return pixels
    size = (_scaled(width, short), _scaled(height, short))
    return cv2.resize(pixels, size, interpolation=interpolation)


def _scaled(side: int, short: int) -> int:
    # In the peers' order of operations: rounding depends on it.
    return round(side / float(short) * _SIDE)


ADE20K_150 = Benchmark(
    title="ADE20K-150",
    download=_DOWNLOAD_150,
    splits={split: partial(_maps_150, split=split) for split in _MARKS},
)
ADE20K_FULL = Benchmark(
    title="ADE20K full (847 classes)",
    download=_DOWNLOAD_FULL,
    splits={
        **{split: partial(_pairs_full, split=split) for split in _MARKS},
        "training_base": partial(_base_full, split="training"),
    },
)
