"""Data sets of one's own: folders, annotation files and videos. No code needed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog

from stseg.config import (
    FOLDERS_KEY,
    PAIRS_KEY,
    DataEntry,
    existing_path,
    is_entry_of_texts,
    is_folder,
    parse_entry,
    split_keys,
    typed_keys,
)
from stseg.data.datasets.register import register_captions, register_with_metadata
from stseg.data.media import is_video
from stseg.data.readers.formats import Loaded, load_entry, load_images, load_unlabelled
from stseg.data.readers.label_cache import extract_frames
from stseg.data.readers.unlabelled import Skipped
from stseg.structures import Vocabulary, VocabularyLike
from stseg.utils import some_of

logger = logging.getLogger(__name__)

_SHOWN_NAMES = 60


#: By name what was registered, and what the caller was told.
_registered: dict[str, tuple[Any, Any]] = {}


def register_folder(
    name: str,
    image_dir: str | Path,
    label_dir: str | Path | None,
    names_file: str | Path,
    ignore_label: int | None = None,
    **keys: Any,
) -> None:
    """Register a folder of images with a folder of label maps.

    An image and its label share the stem ("a.jpg", "a.png"). Labels are grey or palette PNG or
    TIFF of 8 or 16 bits; id k is the k-th name of `names_file`. Registering the same folders
    under the same name again does nothing.

    Args:
        name: to be used in DATASETS.TRAIN and DATASETS.TEST.
        image_dir: .jpg, .png, .bmp, .webp or .tif images; relative to the working directory.
        label_dir: label maps; "" or None for images without labels. As a text it may hold keys,
            "labels,values=0:0,255:1".
        names_file: .txt or .json that `Vocabulary.parse` reads. A JSON object may also hold
            "ignore", the id in the labels that carries no class.
        ignore_label: that id; wins over the names file. By default 255, or 65535 where 255 is a
            class.
        **keys: more keys of the format `folder`, such as `values="0:0,255:1"`, see `DataEntry`.

    Raises:
        FileNotFoundError: if a folder or the names file is missing; names the absolute path.
        ValueError: if the name is taken by another data set, the names are faulty or the ignored
            id is a class.
    """
    if ignore_label is not None:
        keys["ignore"] = ignore_label
    if isinstance(label_dir, str) and not is_folder(label_dir):  # as behind --folder and --gt
        label_dir, texts = split_keys(label_dir)
        keys = typed_keys(texts, f"Data set {name}") | keys
    images = existing_path(name, "image folder", image_dir, is_dir=True)
    labels = existing_path(name, "label folder", label_dir, is_dir=True) if label_dir else None
    names = existing_path(name, "names file", names_file, is_dir=False)
    places = {"images": str(images), "labels": str(labels or images), "names": str(names)}
    entry = parse_entry({"name": name, **places, **keys}, "register_folder")
    data = entry, labels
    if not _is_known(name, data):
        loaded = load_entry(entry) if labels else load_unlabelled(entry)
        _register(name, data, loaded, _told(name, "folder", loaded))


def register_data(entry: DataEntry | Mapping[str, Any]) -> str:
    """Register data of any format of `stseg.config.data_entries.FORMATS`.

    Annotations are read now and their label maps are drawn into a cache, see
    `stseg.data.readers.label_cache`. Registering the same entry again does nothing.

    Args:
        entry: or its attributes as a mapping.

    Returns:
        What was found, in one line.

    Raises:
        FileNotFoundError: if a file or folder is missing; names it.
        ValueError: if the entry, an annotation or the names are faulty, or the name is taken.
        OSError: if the cache cannot be written.
    """
    if not isinstance(entry, DataEntry):
        entry = parse_entry(entry, "register_data")
    if not _is_known(entry.name, entry):
        loaded = load_entry(entry)
        _register(entry.name, entry, loaded, _told(entry.name, entry.format, loaded))
    return _registered[entry.name][1]


def register_images(name: str, folder: str | Path, vocabulary: VocabularyLike) -> Skipped:
    """Register a folder of images or a video, once listed and checked, with a vocabulary.

    Registering the same folder and vocabulary under the same name again does nothing.

    Args:
        name: for DATASETS.TRAIN; no other data set's.
        folder: see `list_images`; or a video file, see `extract_frames`.
        vocabulary: file or names, in any form that `Vocabulary.parse` reads.

    Returns:
        Files left out, as (path, reason); logged as a warning as well.

    Raises:
        FileNotFoundError: if the folder or the vocabulary file is missing.
        ValueError: if nothing can be read, the names are faulty, or the name is taken.
    """
    data = root, parsed = Path(folder).expanduser().absolute(), Vocabulary.parse(vocabulary)
    if _is_known(name, data):
        return _registered[name][1]
    images = extract_frames(root) if root.is_file() and is_video(root) else root
    loaded, skipped = load_images(images, parsed)
    _register(name, data, loaded, skipped)
    if skipped:
        count, lines = len(skipped), "\n".join(f"  {path}: {reason}" for path, reason in skipped)
        total = count + len(loaded.load())
        logger.warning("%s: %d of %d images are left out:\n%s", root, count, total, lines)
    return skipped


def register_from_cfg(cfg: Any) -> list[str]:
    """Register every entry of DATASETS.FOLDERS and DATASETS.PAIRS.

    An entry is [name, image_dir, label_dir, names_file], of PAIRS [name, path], or a mapping, see
    `register_data`.

    Returns:
        What was found, a line per entry.

    Raises:
        ValueError: if an entry is neither, or see `register_folder` and `register_data`.
        FileNotFoundError: if a path of an entry is missing.
        OSError: if the cache cannot be written.
    """
    lines = []
    for position, entry in enumerate(cfg.DATASETS.FOLDERS):
        where = f"{FOLDERS_KEY}[{position}]"
        if isinstance(entry, Mapping):
            lines.append(register_data(parse_entry(entry, where)))
        elif is_entry_of_texts(entry):
            register_folder(*entry)
            lines.append(_registered[entry[0]][1])
        else:
            raise ValueError(
                f"{where}: expected [name, image_dir, label_dir, names_file] or a mapping such as "
                f"{{name: mine, format: labelme, path: DIR}}, got {entry!r}. Use an empty "
                "label_dir for images without labels."
            )
    lines += [_register_pairs(*numbered) for numbered in enumerate(cfg.DATASETS.PAIRS)]
    return lines


def _register_pairs(position: int, entry: Any) -> str:
    where = f"{PAIRS_KEY}[{position}]"
    is_short = isinstance(entry, (list, tuple)) and len(entry) == 2
    if is_short:
        entry = dict(zip(("name", "path"), entry, strict=True))
    if not isinstance(entry, Mapping):
        raise ValueError(
            f"{where}: expected [name, path] or a mapping such as {{name: mine, path: DIR}}, got "
            f"{entry!r}. The path is a folder or glob of tar shards, a CSV or TSV, or a folder."
        )
    return register_data(parse_entry({"format": "pairs", **entry}, where))


def _is_known(name: str, data: Any) -> bool:
    """Whether the very same data are registered.

    Raises:
        ValueError: if the name belongs to others.
    """
    if name not in DatasetCatalog:
        return False
    if name in _registered and _registered[name][0] == data:
        return True
    raise ValueError(
        f"Data set {name!r}: expected a new name, got one that is registered for other data. "
        "Choose another."
    )


def _register(name: str, data: Any, loaded: Loaded, told: Any) -> None:
    if loaded.vocabulary is None:
        register_captions(name, loaded.load, str(loaded.image_root))
    else:
        register_with_metadata(
            name,
            loaded.load,
            vocabulary=loaded.vocabulary,
            ignore_labels=loaded.ignore_labels,
            image_root=str(loaded.image_root),
            sem_seg_root=str(loaded.label_root),
            coding=loaded.coding,
            naming=loaded.naming,
            listed=loaded.listed,
        )
    _registered[name] = (data, told)


def _told(name: str, kind: str, loaded: Loaded) -> str:
    parts = [kind, *loaded.notes]
    if loaded.vocabulary is not None:
        names = loaded.vocabulary.names
        parts.append(f"{len(names)} classes: {some_of(names, _SHOWN_NAMES)}")
    return f"Data set {name}: {'; '.join(parts)}"
