"""From an entry of DATASETS.FOLDERS to records and names, for every format of the table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from stseg.config import DataEntry, existing_path, is_folder
from stseg.data.datasets.listing import (
    PLAIN_NAMES,
    Naming,
    list_pairs,
    not_taken,
    refuse_same_files,
)
from stseg.data.label_coding import LabelCoding, coding_of
from stseg.data.readers.annotations import Annotations, class_ids, folded
from stseg.data.readers.coco_instances import read_coco
from stseg.data.readers.coco_panoptic import read_panoptic
from stseg.data.readers.label_cache import draw_label_maps, extract_frames
from stseg.data.readers.labelme import IGNORED, read_labelme
from stseg.data.readers.pair_index import load_pairs
from stseg.data.readers.unlabelled import Skipped, list_images
from stseg.render import label_encoding
from stseg.structures import IGNORE_LABEL, Vocabulary
from stseg.utils import some_of

logger = logging.getLogger(__name__)

_NAMES_FILES = ("names.json", "names.txt")


@dataclass(frozen=True)
class Loaded:
    """What an entry came to.

    Attributes:
        load: gives the records in Detectron2's format, a list or a `PairIndex`.
        vocabulary: the classes; None for captions.
        ignore_labels: ids without a class in the label files.
        image_root: folder of the images.
        label_root: folder of the label maps, "" if there are none.
        notes: for the log.
        coding: what the values in the label files mean; None where they are class ids.
        naming: how the files are called.
        listed: file that names the images, None for all.
    """

    load: Callable[[], Any]
    vocabulary: Vocabulary | None
    ignore_labels: tuple[int, ...]
    image_root: Path
    label_root: Path | str = ""
    notes: list[str] = field(default_factory=list)
    coding: LabelCoding | None = None
    naming: Naming = PLAIN_NAMES
    listed: Path | None = None


def load_entry(entry: DataEntry) -> Loaded:
    """Find the files of an entry; read annotations and draw their label maps into the cache.

    Raises:
        FileNotFoundError: if a file or folder is missing; names it.
        ValueError: if an annotation, the names or an option is faulty; names file and rule.
        OSError: if a file cannot be read, or the cache cannot be written.
    """
    return _LOADERS[entry.format](entry)


def _folder(entry: DataEntry) -> Loaded:
    below = "" if _lists_images(entry) else entry.split
    images = _place(entry, "images", f"images/{below}")
    return _pairs(entry, images, _place(entry, "labels", f"labels/{below}"))


def load_unlabelled(entry: DataEntry) -> Loaded:
    """The images of a folder data set without its labels; see `load_entry`."""
    return _pairs(entry, _place(entry, "images", "images"), None)


def _pairs(entry: DataEntry, images: Path, labels: Path | None) -> Loaded:
    """Images and label maps, listed when the records are asked for."""
    name, names = entry.name, _names(entry)
    if names is None:
        raise FileNotFoundError(
            f"Data set {name}: expected names.txt or names.json in {Path(entry.path)}, got "
            "neither. Write one name a line, in the order of the ids, or give names."
        )
    vocabulary = Vocabulary.parse(names)
    coding = coding_of(
        vocabulary,
        names,
        where=f"Data set {name}",
        ignore=entry.ignore,
        reduce_zero_label=entry.reduce_zero_label,
        values=entry.values,
        colours=_file_or_text(entry, entry.colours),
    )
    naming = Naming(**{field.name: getattr(entry, field.name) for field in fields(Naming)})
    listed = _file(entry, "list of images", entry.split) if _lists_images(entry) else None
    ignored = coding.ignore if coding.is_plain else (label_encoding(len(vocabulary))[1],)
    return Loaded(
        lambda: _records(name, images, labels, naming, listed),
        vocabulary,
        ignored,
        images,
        labels or "",
        coding=coding,
        naming=naming,
        listed=listed,
    )


def _records(
    name: str, images: Path, labels: Path | None, naming: Naming, listed: Path | None
) -> list[dict[str, Any]]:
    """Records; images that are their own label are refused, and what is left out is counted."""
    records = list_pairs(name, images, labels, naming, listed)
    if labels is not None:
        files = [(r["file_name"], r["sem_seg_file_name"]) for r in records]
        refuse_same_files(f"Data set {name}", files)
    taken = [path for record in records for path in record.values()]
    if others := not_taken(images, taken, naming, listed):
        logger.info(
            "Data set %s: %d images; %d other image files in %s are left out, by their names, the "
            "list or for want of a label: %s",
            name,
            len(records),
            len(others),
            images,
            some_of([Path(path).name for path in others]),
        )
    return records


def _lists_images(entry: DataEntry) -> bool:
    return entry.split.lower().endswith(".txt")


def _file(entry: DataEntry, what: str, given: str) -> Path:
    """A file as given, or else below `path`."""
    below = Path(entry.path).expanduser() / given
    is_below = bool(entry.path) and not Path(given).expanduser().is_file() and below.is_file()
    return existing_path(entry.name, what, below if is_below else given, is_dir=False)


def _file_or_text(entry: DataEntry, given: Any) -> Any:
    is_file = isinstance(given, str) and given.lower().endswith((".txt", ".csv", ".json"))
    return _file(entry, "table of colours", given) if is_file else given


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
    annotations = read_labelme(entry.name, images, labels, others, entry.skip_missing)
    return _annotated(entry, annotations, names, images)


def _coco(entry: DataEntry) -> Loaded:
    names, images, annotation = _names(entry), _place_or_root(entry, "images"), _json(entry)
    annotations = read_coco(entry.name, images, annotation, entry.skip_missing)
    return _annotated(entry, annotations, names, images)


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
    skip = entry.skip_missing
    annotations = read_panoptic(entry.name, images, annotation, labels, skip)
    return _annotated(entry, annotations, names, images)


def _captioned(entry: DataEntry) -> Loaded:
    pairs, notes = load_pairs(entry)
    return Loaded(lambda: pairs, None, (), Path(entry.path).expanduser().absolute(), notes=notes)


_LOADERS: dict[str, Callable[[DataEntry], Loaded]] = {
    "folder": _folder,
    "images": _images,
    "video": _video,
    "labelme": _labelme,
    "coco": _coco,
    "coco_panoptic": _coco_panoptic,
    "pairs": _captioned,
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
    """A folder that the entry names, as it stands or below `path`; or else one of `path`."""
    given, below = getattr(entry, key), Path(entry.path).expanduser()
    if not given or (entry.path and not is_folder(given) and is_folder(below / given)):
        given = below / (given or default)
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
        return _file(entry, "names file", entry.names)
    if entry.names:
        return entry.names
    if entry.path:
        beside = [Path(entry.path).expanduser().absolute() / file for file in _NAMES_FILES]
        return next((file for file in beside if file.is_file()), None)
    return None


def _json(entry: DataEntry) -> Path:
    """The annotation file: named, or the only JSON of the folder or of its annotations/."""
    if entry.annotation:
        return _file(entry, "annotation file", entry.annotation)
    root = existing_path(entry.name, "folder", entry.path, is_dir=True)
    found = [*root.glob("*.json"), *root.glob("annotations/*.json")]
    found = sorted((p for p in found if p.name not in _NAMES_FILES), key=lambda p: p.name)
    if len(found) != 1:
        raise ValueError(
            f"Data set {entry.name}: expected one JSON in {root} or its annotations/, got "
            f"{some_of([p.name for p in found]) or 'none'}. Give annotation=FILE."
        )
    return found[0]
