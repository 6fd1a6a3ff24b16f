"""From an entry of DATASETS.FOLDERS to records and names, for every format of the table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stseg.config import DataEntry, existing_path
from stseg.data.datasets.listing import list_pairs
from stseg.data.image_io import read_label
from stseg.data.names_file import ignore_label
from stseg.data.readers.annotations import Annotations, Drawing, class_ids, folded, hash_of
from stseg.data.readers.coco_instances import read_coco
from stseg.data.readers.coco_panoptic import read_panoptic
from stseg.data.readers.label_cache import draw_label_maps, extract_frames
from stseg.data.readers.labelme import IGNORED, read_labelme
from stseg.data.readers.unlabelled import Skipped, list_images
from stseg.render import label_encoding
from stseg.structures import IGNORE_LABEL, Vocabulary
from stseg.utils import some_of

_NAMES_FILES = ("names.json", "names.txt")


@dataclass(frozen=True)
class Loaded:
    """What an entry came to.

    Attributes:
        load: gives the records in Detectron2's format.
        vocabulary: the classes.
        ignore_labels: ids without a class in the label files.
        image_root: folder of the images.
        label_root: folder of the label maps, "" if there are none.
        notes: for the log.
    """

    load: Callable[[], list[dict[str, Any]]]
    vocabulary: Vocabulary
    ignore_labels: tuple[int, ...]
    image_root: Path
    label_root: Path | str = ""
    notes: list[str] = field(default_factory=list)


def load_entry(entry: DataEntry) -> Loaded:
    """Find the files of an entry; read annotations and draw their label maps into the cache.

    Raises:
        FileNotFoundError: if a file or folder is missing; names it.
        ValueError: if an annotation, the names or an option is faulty; names file and rule.
        OSError: if a file cannot be read, or the cache cannot be written.
    """
    return _LOADERS[entry.format](entry)


def _folder(entry: DataEntry) -> Loaded:
    images = _place(entry, "images", f"images/{entry.split}")
    labels = _place(entry, "labels", f"labels/{entry.split}")
    names = _names(entry)
    if names is None:
        raise FileNotFoundError(
            f"Data set {entry.name}: expected names.txt or names.json in {Path(entry.path)}, got "
            "neither. Write one name a line, in the order of the ids, or give names."
        )
    vocabulary = Vocabulary.parse(names)
    default = _ignored_id(names, len(vocabulary) + entry.reduce_zero_label)
    ignored = tuple(i for i in entry.ignore if isinstance(i, int)) or (default,)
    if not entry.reduce_zero_label:
        load = partial(list_pairs, entry.name, images, labels)
        return Loaded(load, vocabulary, ignored, images, labels)
    annotations = _reduced(entry.name, images, labels, len(vocabulary), ignored)
    return _drawn(entry, annotations, vocabulary, {}, images)


def _ignored_id(names: Any, num_ids: int) -> int:
    """What a names file says, else what is no class."""
    if isinstance(names, Path):
        return ignore_label(names, num_ids)
    return label_encoding(num_ids)[1]


def _reduced(
    name: str, images: Path, labels: Path, num_classes: int, ignored: tuple[int, ...]
) -> Annotations:
    """Label maps whose 0 is no class, as something to draw: every id one less."""
    drawings, stamps = [], []
    for record in list_pairs(name, images, labels):
        file = record["sem_seg_file_name"]
        stat = os.stat(file)
        stamps.append([file, stat.st_size, stat.st_mtime_ns])
        drawings.append(Drawing(record["file_name"], Path(file).stem, file, file))
    reduce = partial(_reduce_zero, num_classes=num_classes, ignored=ignored)
    return Annotations(drawings, reduce, (), {}, hash_of("reduce_zero_label", stamps, ignored))


def _reduce_zero(
    drawing: Drawing,
    size: tuple[int, int],
    ids: Mapping[str, int],
    fill: int,
    *,
    num_classes: int,
    ignored: tuple[int, ...],
) -> np.ndarray:
    label = read_label(drawing.content, num_classes + 1, ignored)
    if label.shape != size:
        raise ValueError(
            f"Label map {drawing.content}: expected the size of its image {drawing.image}, "
            f"{size[0]} x {size[1]}, got {label.shape[0]} x {label.shape[1]} (height x width)."
        )
    return np.where(label > 0, label - 1, IGNORE_LABEL)


def _images(entry: DataEntry) -> Loaded:
    return _without_labels(entry, existing_path(entry.name, "image folder", entry.path, True))


def _video(entry: DataEntry) -> Loaded:
    video = existing_path(entry.name, "video file", entry.path, False)
    return _without_labels(entry, extract_frames(video, entry.every))


def _without_labels(entry: DataEntry, folder: Path) -> Loaded:
    loaded, skipped = load_images(folder, Vocabulary.parse(_names(entry)))
    if skipped:
        names = some_of([path for path, _ in skipped])
        loaded.notes.append(f"left out, since they cannot be read: {names}")
    return loaded


def load_images(folder: Path, vocabulary: Vocabulary) -> tuple[Loaded, Skipped]:
    """Images without labels, and the files left out; see `list_images`."""
    records, skipped = list_images(folder)
    ignored, notes = (label_encoding(len(vocabulary))[1],), [f"{len(records)} images"]
    loaded = Loaded(lambda: [dict(r) for r in records], vocabulary, ignored, folder, "", notes)
    return loaded, skipped


def _labelme(entry: DataEntry) -> Loaded:
    names = _names(entry)
    labels, images = _place_or_root(entry, "labels"), _place_or_root(entry, "images")
    others = [names] if isinstance(names, Path) else []
    return _annotated(entry, read_labelme(entry.name, images, labels, others), names, images)


def _coco(entry: DataEntry) -> Loaded:
    names, images, annotation = _names(entry), _place_or_root(entry, "images"), _json(entry)
    return _annotated(entry, read_coco(entry.name, images, annotation), names, images)


def _coco_panoptic(entry: DataEntry) -> Loaded:
    names, images, annotation = _names(entry), _place_or_root(entry, "images"), _json(entry)
    if entry.labels:
        labels = existing_path(entry.name, "folder of PNG", entry.labels, True)
    else:
        beside = [annotation.with_suffix("")]
        if entry.path:
            beside += [Path(entry.path).expanduser().absolute() / n for n in ("panoptic", "labels")]
        found = [place for place in beside if place.is_dir()]
        labels = existing_path(entry.name, "folder of PNG", (found or beside)[0], True)
    annotations = read_panoptic(entry.name, images, annotation, labels)
    return _annotated(entry, annotations, names, images)


_LOADERS: dict[str, Callable[[DataEntry], Loaded]] = {
    "folder": _folder,
    "images": _images,
    "video": _video,
    "labelme": _labelme,
    "coco": _coco,
    "coco_panoptic": _coco_panoptic,
}


def _annotated(entry: DataEntry, annotations: Annotations, names: Any, images: Path) -> Loaded:
    """Names and ids, then the label maps."""
    ignore = {folded(str(label)) for label in (*entry.ignore, IGNORED)}
    if names is None:
        wanted = [*annotations.names, *([entry.background] if entry.background else [])]
        by_key = {folded(label): label for label in reversed(wanted)}  # "Car" and "car" are one
        labels = [label for label in dict.fromkeys(wanted) if by_key.get(folded(label)) == label]
        labels = [label for label in labels if folded(label) not in ignore]
        if not labels:
            raise ValueError(
                f"Data set {entry.name}: expected at least one label, got none in its "
                f"{len(annotations.drawings)} annotations. Draw shapes first."
            )
        vocabulary = Vocabulary.from_names([[label] for label in labels])
    else:
        vocabulary = _without(Vocabulary.parse(names), IGNORED)
    used = dict(annotations.used)
    if entry.background:
        used.setdefault(entry.background, "'background'")
    ids = class_ids(entry.name, vocabulary, used, ignore)
    return _drawn(entry, annotations, vocabulary, ids, images)


def _without(vocabulary: Vocabulary, name: str) -> Vocabulary:
    """The list of labels that labelme writes begins with one that is no class."""
    if name not in vocabulary.names:
        return vocabulary
    kept = [i for i, n in enumerate(vocabulary.names) if n != name]
    return replace(
        vocabulary,
        names=tuple(vocabulary.names[i] for i in kept),
        synonyms=tuple(vocabulary.synonyms[i] for i in kept),
        seen=vocabulary.seen and tuple(vocabulary.seen[i] for i in kept),
    )


def _drawn(
    entry: DataEntry,
    annotations: Annotations,
    vocabulary: Vocabulary,
    ids: Mapping[str, int],
    images: Path,
) -> Loaded:
    fill = ids[entry.background] if entry.background else IGNORE_LABEL
    folder, records = draw_label_maps(entry.name, annotations, ids, vocabulary, fill)
    notes = [f"{len(records)} images", f"label maps and names.json in {folder}"]
    return Loaded(
        lambda: [dict(record) for record in records],
        vocabulary,
        (label_encoding(len(vocabulary))[1],),
        images,
        folder / "labels",
        notes + annotations.notes,
    )


def _place(entry: DataEntry, key: str, default: str) -> Path:
    """A folder that the entry names, or else one of `path`."""
    given = getattr(entry, key) or Path(entry.path) / default
    return existing_path(entry.name, f"folder of {key}", given, is_dir=True)


def _place_or_root(entry: DataEntry, key: str) -> Path:
    """The same; `path` itself where it has no such folder, for tools that write all into one."""
    has_folder = (Path(entry.path).expanduser() / key).is_dir()
    return _place(entry, key, key if has_folder else "")


def _names(entry: DataEntry) -> Any:
    """What `Vocabulary.parse` reads: files as Path; None where none are given."""
    if isinstance(entry.names, tuple):
        return list(entry.names)
    if entry.names.lower().endswith((".txt", ".json")):
        return existing_path(entry.name, "names file", entry.names, is_dir=False)
    if entry.names:
        return entry.names
    if entry.path:
        beside = [Path(entry.path).expanduser().absolute() / file for file in _NAMES_FILES]
        return next((file for file in beside if file.is_file()), None)
    return None


def _json(entry: DataEntry) -> Path:
    """The annotation file: named, or the only JSON of the folder or of its annotations/."""
    if entry.annotation:
        return existing_path(entry.name, "annotation file", entry.annotation, is_dir=False)
    root = existing_path(entry.name, "folder", entry.path, is_dir=True)
    found = [*root.glob("*.json"), *root.glob("annotations/*.json")]
    found = sorted((p for p in found if p.name not in _NAMES_FILES), key=lambda p: p.name)
    if len(found) != 1:
        raise ValueError(
            f"Data set {entry.name}: expected one JSON in {root} or its annotations/, got "
            f"{some_of([p.name for p in found]) or 'none'}. Give annotation=FILE."
        )
    return found[0]
