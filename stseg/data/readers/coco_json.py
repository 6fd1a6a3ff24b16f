"""What COCO's instance and panoptic JSON have in common: images, categories and their ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from stseg.data.readers.annotations import (
    Drawing,
    refuse_missing,
    refuse_same_stem,
    stated_size,
)
from stseg.utils import some_of, spelling_on_disk

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
        file_name, image_id = entry.get("file_name"), entry.get("id")
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


def known_id(entry: dict[str, Any], key: str, known: Mapping[Any, Any], where: str) -> Any:
    """The image or category that an annotation refers to.

    Raises:
        ValueError: if the file does not hold it; names the annotation.
    """
    value = entry.get(key)
    if not isinstance(value, (int, str)) or value not in known:
        what = "images" if key == "image_id" else "categories"
        raise ValueError(
            f"{where}: expected {key} out of the {len(known)} {what} of the file, got {value!r}. "
            "Export it again, or remove the annotation."
        )
    return value


def drawings_of(
    name: str, file: Path, images: Mapping[Any, Any], content: Mapping[Any, Any], image_dir: Path
) -> list[Drawing]:
    """One drawing per image with annotations.

    Args:
        name: of the data set, for messages.
        file: the JSON.
        images: entries of the images by id.
        content: what is drawn, by image id.
        image_dir: "file_name" leads on from here; where it does not, its last part does.

    Returns:
        Drawings sorted by stem.

    Raises:
        FileNotFoundError: if an image is missing.
        ValueError: if there is nothing to draw, or two images share a name.
    """
    drawings, missing = [], []
    for image_id, part in content.items():
        entry = images[image_id]
        relative = PurePosixPath(entry["file_name"].replace("\\", "/"))
        places = [image_dir / relative, image_dir / relative.name]
        image = next(filter(None, map(spelling_on_disk, places)), None)
        if image is None:
            missing.append(str(relative))
            continue
        is_below = not relative.is_absolute() and ".." not in relative.parts
        stem = relative.with_suffix("").as_posix() if is_below else relative.stem
        source = f"{file}, image {entry['file_name']}"
        size = stated_size(entry, "height", "width")
        drawings.append(Drawing(str(image), stem, source, part, size))
    refuse_missing(name, missing, image_dir, file)
    refuse_same_stem(name, drawings)
    if not drawings:
        raise ValueError(f"Data set {name}: expected annotations in {file}, got none.")
    return sorted(drawings, key=lambda drawing: drawing.stem)


def left_out(images: Mapping[Any, Any], content: Mapping[Any, Any]) -> list[str]:
    """A note on the images without annotations."""
    count = len(images) - len(content)
    return [f"{count} images without annotations are left out"] if count else []
