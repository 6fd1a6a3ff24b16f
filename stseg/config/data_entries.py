"""What a user writes to name data of one's own: entries of DATASETS.FOLDERS, and --data flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from stseg.config.entry_keys import KeyValueError, split_keys, typed_value
from stseg.utils import did_you_mean

FOLDERS_KEY, PAIRS_KEY = "DATASETS.FOLDERS", "DATASETS.PAIRS"
_PLACES = ("path", "images", "labels", "annotation")
#: Keys that say how the files of a folder are called, and what label maps hold.
_FILES = ("nested", "image_beginning", "image_ending", "label_beginning", "label_ending")
_CODING = ("ignore", "reduce_zero_label", "values", "colours")


@dataclass(frozen=True)
class Format:
    """A row of the table of formats.

    Attributes:
        summary: what the data are, for people.
        keys: that an entry may hold beside "name" and "format".
        needs: groups of keys, of which one group must be given whole.
    """

    summary: str
    keys: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]


FORMATS = {
    "folder": Format(
        "images/, labels/ (PNG or TIFF of the same stems) and names.txt or .json",
        ("path", "images", "labels", "names", "split", *_CODING, *_FILES, "labels_select"),
        (("path",), ("images", "labels", "names")),
    ),
    "images": Format(
        "a folder of images, or of video frames, without labels",
        ("path", "names"),
        (("path", "names"),),
    ),
    "video": Format(
        "the frames of a video file, without labels",
        ("path", "names", "every"),
        (("path", "names"),),
    ),
    "labelme": Format(
        "images with one JSON each, as labelme writes them",
        ("path", "images", "labels", "names", "ignore", "background", "skip_missing"),
        (("path",), ("images", "labels")),
    ),
    "coco": Format(
        "images/ and one COCO JSON of polygons or RLE masks",
        ("path", "images", "annotation", "names", "ignore", "background", "skip_missing"),
        (("path",), ("images", "annotation")),
    ),
    "coco_panoptic": Format(
        "images/, one COCO panoptic JSON and its folder of PNG",
        ("path", "images", "labels", "annotation", "names", "ignore", "skip_missing"),
        (("path",), ("images", "annotation")),
    ),
    "pairs": Format(
        "images with captions: tar shards, a CSV, TSV or JSONL, or images with a .txt each",
        ("path", "images", "image_column", "caption_column"),
        (("path",),),
    ),
}


@dataclass(frozen=True)
class DataEntry:
    """A data set as the user describes it; relative paths start at the working directory.

    Where nothing is there, those beside `path` start at `path`.

    Attributes:
        name: for DATASETS.TRAIN and DATASETS.TEST.
        format: key of `FORMATS`.
        path: folder that holds everything, or the video file, or a table, shard or glob of shards.
        images: folder of images, instead of what `path` holds; where the paths in a table start.
        labels: folder of label maps, labelme JSON or panoptic PNG.
        annotation: COCO JSON.
        names: file or names in any form that `Vocabulary.parse` reads; "" takes them from the
            annotation.
        split: folder below images/ and labels/ of `path`; or a .txt that names the images.
        ignore: values or colours (folder) or labels (annotations) that carry no class.
        background: class of pixels that no shape covers; "" leaves them without a class.
        skip_missing: annotations of what is not there are left out and counted, not refused.
        reduce_zero_label: 0 in label maps carries no class, and k is the k-th name.
        values: classes of the values in label maps, see `stseg.data.label_coding`.
        colours: the same of colours.
        nested: see `stseg.data.datasets.listing.Naming`, like the next five.
        image_beginning: of file names.
        image_ending: of file names.
        label_beginning: of file names.
        label_ending: of file names.
        labels_select: images without a label are left out.
        every: of so many frames of a video one is taken.
        image_column: heading of the images' paths in a table of captions.
        caption_column: of the captions.
    """

    name: str
    format: str = "folder"
    path: str = ""
    images: str = ""
    labels: str = ""
    annotation: str = ""
    names: str | tuple[str | tuple[str, ...], ...] = ""
    split: str = ""
    ignore: tuple[int | str, ...] = ()
    background: str = ""
    skip_missing: bool = False
    reduce_zero_label: bool = False
    values: str | tuple[Any, ...] = ""
    colours: str | tuple[Any, ...] = ""
    nested: bool = False
    image_beginning: str = ""
    image_ending: str = ""
    label_beginning: str = ""
    label_ending: str = ""
    labels_select: bool = False
    every: int = 1
    image_column: str = ""
    caption_column: str = ""


def parse_entry(mapping: Mapping[str, Any], where: str) -> DataEntry:
    """Check one entry.

    Args:
        mapping: keys are the attributes of `DataEntry`.
        where: the entry stands, for messages.

    Raises:
        ValueError: names the place, the key, the rule and the value.
    """
    values = {key: _frozen(value) for key, value in mapping.items()}
    name = values.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where}: expected a 'name', got {name!r}. Add name: mine.")
    kind = values.get("format", "folder")
    if kind not in FORMATS:
        raise ValueError(
            f"{where}, format of {name!r}: expected one of {', '.join(FORMATS)}, got {kind!r}."
        )
    known = ("name", "format", *FORMATS[kind].keys)
    for key in values:
        if key not in known:
            hint = did_you_mean(key, known) or " Remove it."
            raise ValueError(
                f"{where}, {name!r} of format {kind}: expected the keys {', '.join(known)}, "
                f"got {key!r}.{hint}"
            )
    if "ignore" in values and not isinstance(values["ignore"], tuple):
        values["ignore"] = (values["ignore"],)
    entry = DataEntry(**values)
    _check_values(entry, where)
    return entry


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = list(value.items())
    return tuple(_frozen(part) for part in value) if isinstance(value, (list, tuple)) else value


def _check_values(entry: DataEntry, where: str) -> None:
    texts = [f.name for f in fields(entry) if f.type == "str"]
    truths = [f.name for f in fields(entry) if f.type == "bool"]
    is_id = entry.format == "folder"
    ids = "whole numbers" if is_id else "labels (texts)"
    is_ignorable = _is_value if entry.colours else _is_whole if is_id else _is_text
    rules = [(key, isinstance(getattr(entry, key), str), "text") for key in texts]
    rules += [
        ("names", isinstance(entry.names, (str, tuple)), "a file, names or a list of names"),
        ("ignore", all(map(is_ignorable, entry.ignore)), ids),
        *((key, isinstance(getattr(entry, key), bool), "true or false") for key in truths),
        *((k, _is_table(getattr(entry, k)), "pairs, such as 0:0,255:1") for k in _CODING[2:]),
        ("every", _is_whole(entry.every) and entry.every >= 1, "a whole number from 1"),
    ]
    for key, is_good, rule in rules:
        if not is_good:
            raise ValueError(
                f"{where}, {key} of {entry.name!r}: expected {rule}, got {getattr(entry, key)!r}."
            )
    needs = FORMATS[entry.format].needs
    if not any(all(getattr(entry, key) for key in group) for group in needs):
        wanted = ", or ".join(" and ".join(group) for group in needs)
        given = ", ".join(k for k in (*_PLACES, "names") if getattr(entry, k)) or "none of these"
        raise ValueError(
            f"{where}, {entry.name!r} of format {entry.format} "
            f"({FORMATS[entry.format].summary}): expected {wanted}, got {given}. Add what is "
            "missing."
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_value(value: Any) -> bool:
    return isinstance(value, (str, tuple)) or _is_whole(value)


def _is_table(value: Any) -> bool:
    """A text, or pairs of a value and a class."""
    if _is_text(value):
        return True
    return isinstance(value, tuple) and all(isinstance(p, tuple) and len(p) == 2 for p in value)


def parse_flag(text: str) -> dict[str, Any]:
    """Read `NAME=FORMAT:PATH,KEY=VALUE,...` into an entry of DATASETS.FOLDERS.

    FORMAT is "folder" if it is left out. PATH may be left out where keys say it all.

    Raises:
        ValueError: if the text has another form, or see `parse_entry`.
    """
    name, equals, rest = text.partition("=")
    if not equals or not name or not rest:
        raise ValueError(
            f"--data: expected NAME=FORMAT:PATH with FORMAT one of {', '.join(FORMATS)}, got "
            f"{text!r}. An example: --data mine=labelme:photos"
        )
    place, options = split_keys(rest)
    kind, colon, path = place.partition(":")
    if not colon or kind not in FORMATS:  # "C:\photos" has a colon, too
        kind, path = "folder", place
    entry: dict[str, Any] = {"name": name.strip(), "format": kind, "path": path}
    for key, value in options.items():
        try:
            entry[key] = typed_value(key, value)
        except KeyValueError as error:
            raise ValueError(f"--data, {key} of {name!r}: {error}") from error
    if not path:
        del entry["path"]
    parse_entry(entry, "--data")
    return entry


def existing_path(name: str, what: str, path: str | Path, is_dir: bool) -> Path:
    """The absolute path of something that a data set needs.

    Raises:
        FileNotFoundError: if it is not there; names data set, path and cure.
    """
    absolute = Path(path).expanduser().absolute()
    if is_folder(absolute) if is_dir else absolute.is_file():
        return absolute
    raise FileNotFoundError(
        f"Data set {name}: expected the {what} {absolute}, got nothing there. Given as "
        f"{str(path)!r} to {FOLDERS_KEY} or register_folder; relative paths start at the "
        "working directory, or at the entry's 'path'."
    )


def is_folder(path: str | Path) -> bool:
    """Whether a path names a folder, or some by a `*` in it, as "Train/*/images" does."""
    absolute = Path(path).expanduser().absolute()
    if "*" not in str(absolute):
        return absolute.is_dir()
    parts = absolute.relative_to(absolute.anchor).as_posix()
    return any(found.is_dir() for found in Path(absolute.anchor).glob(parts))


def is_entry_of_texts(entry: Any) -> bool:
    """Whether an entry is the short form [name, image_dir, label_dir, names_file]."""
    is_list = isinstance(entry, Sequence) and not isinstance(entry, str)
    return is_list and len(entry) == 4 and all(isinstance(part, str) for part in entry)
