"""Data sets given as folders: images, label maps and a file of names. No code needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog

from stseg.data.datasets.listing import list_pairs
from stseg.data.datasets.register import register_with_metadata
from stseg.data.names_file import ignore_label
from stseg.structures import Vocabulary

_KEY = "DATASETS.FOLDERS"


@dataclass(frozen=True)
class _Folder:
    image_dir: Path
    label_dir: Path | None
    names_file: Path
    ignore_label: int | None


_registered: dict[str, _Folder] = {}


def register_folder(
    name: str,
    image_dir: str | Path,
    label_dir: str | Path | None,
    names_file: str | Path,
    ignore_label: int | None = None,
) -> None:
    """Register a folder of images with a folder of label maps.

    An image and its label share the stem ("a.jpg", "a.png"). Labels are grey or palette PNG or
    TIFF of 8 or 16 bits; id k is the k-th name of `names_file`. Registering the same folders
    under the same name again does nothing.

    Args:
        name: to be used in DATASETS.TRAIN and DATASETS.TEST.
        image_dir: .jpg, .png, .bmp, .webp or .tif images; relative to the working directory.
        label_dir: label maps; "" or None for images without labels.
        names_file: .txt or .json that `Vocabulary.parse` reads. A JSON object may also hold
            "ignore", the id in the labels that carries no class.
        ignore_label: that id; wins over the names file. By default 255, or 65535 where 255 is a
            class.

    Raises:
        FileNotFoundError: if a folder or the names file is missing; names the absolute path.
        ValueError: if the name is taken by another data set, the names are faulty or the ignored
            id is a class.
    """
    folder = _Folder(
        _existing(name, "image folder", image_dir, is_dir=True),
        _existing(name, "label folder", label_dir, is_dir=True) if label_dir else None,
        _existing(name, "names file", names_file, is_dir=False),
        ignore_label,
    )
    if name in DatasetCatalog:
        if _registered.get(name) == folder:
            return
        raise ValueError(
            f"Data set {name!r}: expected a new name, got one that is registered for other data. "
            "Choose another."
        )
    vocabulary = Vocabulary.parse(folder.names_file)
    register_with_metadata(
        name,
        lambda: list_pairs(name, folder.image_dir, folder.label_dir),
        vocabulary=vocabulary,
        stuff_classes=list(vocabulary.names),
        ignore_labels=(_ignore_label(folder, len(vocabulary)),),
        evaluator_type="sem_seg",
        image_root=str(folder.image_dir),
        sem_seg_root=str(folder.label_dir or ""),
    )
    _registered[name] = folder


def register_from_cfg(cfg: Any) -> None:
    """Register every entry of DATASETS.FOLDERS: [name, image_dir, label_dir, names_file].

    Raises:
        ValueError: if an entry does not have these four texts.
        FileNotFoundError: if a path of an entry is missing.
    """
    for position, entry in enumerate(cfg.DATASETS.FOLDERS):
        is_list = isinstance(entry, Sequence) and not isinstance(entry, str)
        if not is_list or len(entry) != 4 or not all(isinstance(part, str) for part in entry):
            raise ValueError(
                f"{_KEY}[{position}]: expected [name, image_dir, label_dir, names_file], "
                f"got {entry!r}. Use an empty label_dir for images without labels."
            )
        register_folder(*entry)


def _existing(name: str, what: str, path: str | Path, is_dir: bool) -> Path:
    absolute = Path(path).expanduser().absolute()
    if absolute.is_dir() if is_dir else absolute.is_file():
        return absolute
    raise FileNotFoundError(
        f"Data set {name}: expected the {what} {absolute}, got nothing there. Given as "
        f"{str(path)!r} to {_KEY} or register_folder; relative paths start at the "
        "working directory."
    )


def _ignore_label(folder: _Folder, num_classes: int) -> int:
    if folder.ignore_label is not None:
        return folder.ignore_label
    return ignore_label(folder.names_file, num_classes)
