"""Pairing the images of a folder with the label maps of another."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stseg.data.image_io import IMAGE_SUFFIXES, LABEL_SUFFIXES
from stseg.utils import read_text, same_name, some_of


def files_by_stem(
    folder: Path, suffixes: tuple[str, ...], ending: str = "", nested: bool = False
) -> dict[str, str]:
    """Files of a folder with one of the suffixes, as full paths keyed by stem.

    Args:
        folder: must exist.
        suffixes: in lower case, with the dot.
        ending: only stems with this ending count; the keys come without it.
        nested: files in folders below, too; keys then hold the folder, "aachen/street_1".

    Raises:
        ValueError: if two files share a key, for then pairing would be a guess.
    """
    found: dict[str, str] = {}
    for key, path in _files(folder, suffixes, ending, nested):
        if key in found:
            raise ValueError(
                f"{folder}: expected one file per stem, got {os.path.basename(found[key])} "
                f"and {os.path.basename(path)}. Remove or rename one."
            )
        found[key] = path
    return found


def labels_below(folder: Path, ending: str = "", nested: bool = False) -> Iterator[str]:
    """Paths of the label maps of a folder, one after the other; see `files_by_stem`."""
    return (path for _, path in _files(folder, LABEL_SUFFIXES, ending, nested))


def _files(
    folder: Path, suffixes: tuple[str, ...], ending: str, nested: bool, below: str = ""
) -> Iterator[tuple[str, str]]:
    """Key and path of every file of `files_by_stem`, without reading more than is asked for."""
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if stem.startswith("."):
                continue
            if nested and entry.is_dir():
                inner = f"{below}{entry.name}/"
                yield from _files(Path(entry.path), suffixes, ending, nested, inner)
            elif suffix.lower() in suffixes and stem.endswith(ending):
                yield same_name(below + stem.removesuffix(ending)), entry.path


def list_pairs(
    name: str,
    image_dir: Path,
    label_dir: Path | None,
    labels_select: bool = False,
    *,
    nested: bool = False,
    image_ending: str = "",
    label_ending: str = "",
) -> list[dict[str, Any]]:
    """List a data set in Detectron2's format, sorted by stem.

    Args:
        name: of the data set, for messages.
        image_dir: folder of images; must exist.
        label_dir: folder of label maps; must exist. None for images without labels.
        labels_select: images without a label belong to other splits and are left out.
        nested: both lie in folders below, of the same names.
        image_ending: end of the images' stems that is not compared; images without it are left out.
        label_ending: the same of the label maps.

    Returns:
        Records with "file_name" and, where there are labels, "sem_seg_file_name".

    Raises:
        ValueError: if nothing is found, or an image or a label has no partner.
    """
    images = files_by_stem(image_dir, IMAGE_SUFFIXES, image_ending, nested)
    if not images:
        raise ValueError(f"Data set {name}: expected images in {image_dir}, got none.")
    if label_dir is None:
        return [{"file_name": images[stem]} for stem in sorted(images)]
    labels = files_by_stem(label_dir, LABEL_SUFFIXES, label_ending, nested)
    if not labels:
        raise ValueError(
            f"Data set {name}: expected label maps ({', '.join(LABEL_SUFFIXES)}) in {label_dir}, "
            "got none."
        )
    _refuse_single(name, "an image for every label", labels, images, image_dir)
    if not labels_select:
        _refuse_single(name, "a label for every image", images, labels, label_dir)
    return [
        {"file_name": images[stem], "sem_seg_file_name": labels[stem]} for stem in sorted(labels)
    ]


def select_listed(
    name: str, records: list[dict[str, Any]], list_file: Path
) -> list[dict[str, Any]]:
    """The records of a split.

    Args:
        name: of the data set, for messages.
        records: with "file_name".
        list_file: text with one stem a line.

    Returns:
        The listed records, in their order.

    Raises:
        ValueError: if the list is empty or names an image that is not there.
    """
    stems = set(same_name(read_text(list_file, f"Data set {name}")).split())
    kept = [record for record in records if same_name(Path(record["file_name"]).stem) in stems]
    missing = sorted(stems - {same_name(Path(record["file_name"]).stem) for record in kept})
    if kept and not missing:
        return kept
    raise ValueError(
        f"Data set {name}: expected the images that {list_file} lists, got "
        f"{len(missing)} of {len(stems)} missing: {', '.join(missing[:5]) or 'an empty list'}. "
        "Unpack the download anew."
    )


def _refuse_single(
    name: str, rule: str, files: dict[str, str], partners: Iterable[str], partner_dir: Path
) -> None:
    single = sorted(files.keys() - set(partners))
    if not single:
        return
    shown = some_of([os.path.basename(files[stem]) for stem in single])
    raise ValueError(
        f"Data set {name}: expected {rule}, got no partner in {partner_dir} for {shown}. "
        "Add the missing files (same name, other suffix) or remove these."
    )
