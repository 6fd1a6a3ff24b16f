"""What COCO's instance and panoptic JSON have in common: images, categories and their ids."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stseg.data.readers.annotations import (
    Drawing,
    left_out,
    place_of,
    refuse_same_stem,
    stated_size,
    without_missing,
)
from stseg.utils import some_of

KEYS = ("images", "annotations", "categories")


def entries_of(where: Any, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of objects at a key.

    Raises:
        ValueError: if it is something else.
    """
    entries = content[key]
    if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
        return entries
    raise ValueError(f"{where}: expected a list of objects at {key!r}, got {str(entries)[:40]}.")


def images_by_id(file: Path, content: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    """Entries of the images by id.

    Raises:
        ValueError: if one lacks its name, or an id of its own.
    """
    images: dict[Any, dict[str, Any]] = {}
    for number, entry in enumerate(entries_of(file, content, "images"), start=1):
        file_name, image_id = entry.get("file_name"), plain_id(entry.get("id"))
        is_good = isinstance(file_name, str) and isinstance(image_id, (int, str))
        if not is_good or image_id in images:
            raise ValueError(
                f"{file}, image {number}: expected a 'file_name' and an 'id' of its own, got "
                f"{file_name!r} and {image_id!r}. Export it again."
            )
        images[image_id] = entry
    return images


def categories_by_id(file: Path, content: dict[str, Any]) -> dict[Any, str]:
    """Names by id, in the order of the ids.

    Raises:
        ValueError: if there are none, or a name or an id stands twice.
    """
    entries = entries_of(file, content, "categories")
    try:
        pairs = sorted((int(entry["id"]), str(entry["name"])) for entry in entries)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file}: expected categories with an 'id' (number) and a 'name', got others ({error})."
        ) from error
    names = [name for _, name in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not pairs or len(dict(pairs)) < len(pairs):
        raise ValueError(
            f"{file}: expected categories of different names and ids, got "
            f"{some_of(twice) or 'none'} among {len(pairs)}. Rename or join them."
        )
    return dict(pairs)


def plain_id(value: Any) -> Any:
    """An id, as a number where it is one, "7" or 7.0: files mix them."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def known_id(entry: dict[str, Any], key: str, known: Mapping[Any, Any], where: str) -> Any:
    """The image or category that an annotation refers to.

    Raises:
        ValueError: if the file does not hold it; names the annotation.
    """
    value = plain_id(entry.get(key))
    if not is_known(value, known):
        what = "images" if key == "image_id" else "categories"
        raise ValueError(
            f"{where}: expected {key} out of the {len(known)} {what} of the file, got {value!r}. "
            "Export it again, remove the annotation, or give skip_missing=true, which leaves such "
            "annotations out."
        )
    return value


def is_known(value: Any, known: Mapping[Any, Any]) -> bool:
    """Whether an id, see `plain_id`, is one of those of the file."""
    return isinstance(value, (int, str)) and value in known


def refers_well(
    entry: dict[str, Any], images: Mapping[Any, Any], categories: Mapping[Any, Any]
) -> bool:
    """Whether image and category of an annotation are in the file."""
    known = (("image_id", images), ("category_id", categories))
    return all(is_known(plain_id(entry.get(key)), among) for key, among in known)


def class_names(
    content: dict[str, Any], categories: Mapping[Any, str], used: Mapping[str, Any]
) -> tuple[tuple[str, ...], list[str]]:
    """Categories that are classes, in the order of their ids, and notes on the others.

    A category that others name as their "supercategory", and that no annotation has, groups them:
    it is no class. One without annotations that groups none is.
    """
    above = {
        str(entry.get("supercategory"))
        for entry in content["categories"]
        if entry.get("supercategory") != entry["name"]
    }
    unused = [name for name in categories.values() if name not in used]
    grouping = [name for name in unused if name in above]
    rare = [name for name in unused if name not in grouping]
    notes = left_out(grouping, "categories that group others and have no annotation")
    notes += [f"{len(rare)} categories have no annotation: {some_of(rare)}"] if rare else []
    return tuple(name for name in categories.values() if name not in grouping), notes


def drawings_of(
    name: str,
    file: Path,
    images: Mapping[Any, Any],
    content: Mapping[Any, Any],
    image_dir: Path,
    skip_missing: bool = False,
) -> tuple[list[Drawing], list[str]]:
    """One drawing per image with annotations.

    Args:
        name: of the data set, for messages.
        file: the JSON.
        images: entries of the images by id.
        content: what is drawn, by image id.
        image_dir: "file_name" leads on from here; where it does not, its last parts do.
        skip_missing: images that are not there are left out.

    Returns:
        Drawings sorted by stem, and notes on what is left out.

    Raises:
        FileNotFoundError: if an image is missing.
        ValueError: if there is nothing to draw, or two images share a name.
    """
    drawings, missing = [], []
    for image_id, part in content.items():
        entry = images[image_id]
        image, stem = place_of(entry["file_name"], image_dir)
        if image is None:
            missing.append(entry["file_name"])
            continue
        source = f"{file}, image {entry['file_name']}"
        size = stated_size(entry, "height", "width")
        drawings.append(Drawing(str(image), stem, source, part, size))
    notes = without_missing(name, missing, image_dir, file, skip_missing)
    refuse_same_stem(name, drawings)
    if not drawings:
        kept = f"of images in {image_dir}" if missing else "that cover an area"
        raise ValueError(
            f"Data set {name}: expected annotations in {file}, got none {kept}. Give the folder of "
            "its images, or export it with polygons or masks; boxes alone cannot be used."
        )
    count = len(images) - len(content)
    notes += [f"{count} images without annotations are left out"] if count else []
    return sorted(drawings, key=lambda drawing: drawing.stem), notes
