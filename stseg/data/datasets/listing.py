"""Pairing the images of a folder with the label maps of another."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stseg.data.image_io import IMAGE_SUFFIXES, LABEL_SUFFIXES
from stseg.utils import read_text, same_name, some_of


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How the files of a data set are called; a pair has the same name but for these.

    Attributes:
        nested: files lie in folders below, of the same names for images and labels.
        image_beginning: of the images' names, not compared; images without it are left out.
        image_ending: the same of their ends, without the suffix ("_image") or with it (".png").
        label_beginning: the same of the label maps.
        label_ending: likewise.
        labels_select: images without a label belong to other splits and are left out.
    """

    nested: bool = False
    image_beginning: str = ""
    image_ending: str = ""
    label_beginning: str = ""
    label_ending: str = ""
    labels_select: bool = False

    def key_of(self, name: str, *, is_label: bool) -> str | None:
        """What pairs a file.

        Args:
            name: path below its folder, with "/".
            is_label: it is a label map, else an image.

        Returns:
            The path without suffix, beginning and ending; None for a file that is called otherwise.
        """
        beginning = self.label_beginning if is_label else self.image_beginning
        ending = self.label_ending if is_label else self.image_ending
        folder, slash, file = name.rpartition("/")
        has_suffix = ending.lower().endswith(IMAGE_SUFFIXES)
        text = file if has_suffix else os.path.splitext(file)[0]
        is_called_so = text.startswith(beginning) and text.endswith(ending)
        if not is_called_so or len(text) < len(beginning) + len(ending):
            return None
        return same_name(folder + slash + text[len(beginning) : len(text) - len(ending)])


PLAIN_NAMES = Naming()


def folders_of(place: Path) -> dict[str, Path]:
    """The folders that a path stands for, by what its `*` stand for ("" without any).

    `Train/*/images` has the keys "Urban/" and "Rural/", which begin the names of their files.
    """
    first = next((i for i, part in enumerate(place.parts) if "*" in part), None)
    if first is None:
        return {"": place}
    root, parts = Path(*place.parts[:first]), place.parts[first:]
    found = {}
    for folder in sorted(root.glob("/".join(parts))):
        below = zip(folder.relative_to(root).parts, parts, strict=False)
        if folder.is_dir():
            found["".join(f"{name}/" for name, part in below if "*" in part)] = folder
    return found


def files_by_stem(
    folder: Path,
    suffixes: tuple[str, ...],
    naming: Naming = PLAIN_NAMES,
    *,
    is_label: bool = False,
    without: Path | None = None,
) -> dict[str, str]:
    """Files of a folder with one of the suffixes, as full paths keyed by stem.

    Args:
        folder: must exist; may hold `*`, see `folders_of`.
        suffixes: in lower case, with the dot.
        naming: which files count, and what of their names.
        is_label: they are label maps, else images.
        without: a folder below that is left out.

    Raises:
        ValueError: if two files share a key, for then pairing would be a guess.
    """
    found: dict[str, str] = {}
    for key, path in _files(folder, suffixes, naming, is_label, without):
        if key in found:
            what = "label" if is_label else "image"
            raise ValueError(
                f"{folder}: expected one file per stem, got {os.path.basename(found[key])} "
                f"and {os.path.basename(path)}. Remove or rename one, or say which is the {what}, "
                f"such as {what}_ending={os.path.splitext(path)[1]}."
            )
        found[key] = path
    return found


def labels_below(folder: Path, naming: Naming = PLAIN_NAMES) -> Iterator[str]:
    """Paths of the label maps of a folder, one after the other; see `files_by_stem`."""
    return (path for _, path in _files(folder, LABEL_SUFFIXES, naming, True, None))


def _files(
    place: Path, suffixes: tuple[str, ...], naming: Naming, is_label: bool, without: Path | None
) -> Iterator[tuple[str, str]]:
    """Key and path of every file of `files_by_stem`, without reading more than is asked for."""
    for below, folder in folders_of(place).items():
        for name, path in _entries(folder, below, naming.nested, without):
            key = naming.key_of(name, is_label=is_label)
            if key is not None and os.path.splitext(name)[1].lower() in suffixes:
                yield key, path


def _entries(
    folder: Path, below: str, nested: bool, without: Path | None
) -> Iterator[tuple[str, str]]:
    """Name with "/" and path of every visible file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if os.path.isdir(entry.path):  # whatever it is called
                if not nested or _leads_back(entry):
                    continue
                if without is None or entry.path != str(without):
                    yield from _entries(Path(entry.path), f"{below}{entry.name}/", True, without)
            else:
                yield f"{below}{entry.name}", entry.path


def _leads_back(entry: os.DirEntry[str]) -> bool:
    """Whether a link to a folder leads to one that it lies in."""
    real = os.path.realpath(entry.path)
    return entry.is_symlink() and Path(
        os.path.realpath(os.path.dirname(entry.path))
    ).is_relative_to(real)


def list_pairs(
    name: str,
    image_dir: Path,
    label_dir: Path | None,
    naming: Naming = PLAIN_NAMES,
    listed: Path | None = None,
) -> list[dict[str, Any]]:
    """List a data set in Detectron2's format, sorted by stem.

    Args:
        name: of the data set, for messages.
        image_dir: folder of images; must exist; may hold `*`, see `folders_of`.
        label_dir: folder of label maps; likewise. None for images without labels.
        naming: how the files are called.
        listed: text file that names the images to take, one a line; all by default.

    Returns:
        Records with "file_name" and, where there are labels, "sem_seg_file_name".

    Raises:
        ValueError: if nothing is found, an image or a label has no partner, or the list is empty
            or names an image that is not there.
    """
    images = files_by_stem(image_dir, IMAGE_SUFFIXES, naming, without=label_dir)
    labels: dict[str, str] = {}
    if label_dir is not None:
        labels = files_by_stem(label_dir, LABEL_SUFFIXES, naming, is_label=True, without=image_dir)
    if label_dir == image_dir and (naming.label_ending or naming.label_beginning):
        maps = set(labels.values())
        images = {stem: path for stem, path in images.items() if path not in maps}
    if not images:
        raise ValueError(f"Data set {name}: expected images in {image_dir}, got none.{_as(naming)}")
    if listed is not None:
        wanted = listed_keys(name, listed, images)
        images = {stem: path for stem, path in images.items() if stem in wanted}
        labels = {stem: path for stem, path in labels.items() if stem in wanted}
    if label_dir is None:
        return [{"file_name": images[stem]} for stem in sorted(images)]
    if not labels:
        raise ValueError(
            f"Data set {name}: expected label maps ({', '.join(LABEL_SUFFIXES)}) in {label_dir}, "
            f"got none.{_as(naming)}"
        )
    _refuse_single(name, "an image for every label", labels, images, image_dir)
    if not naming.labels_select:
        _refuse_single(name, "a label for every image", images, labels, label_dir)
    return [
        {"file_name": images[stem], "sem_seg_file_name": labels[stem]} for stem in sorted(labels)
    ]


def not_taken(
    image_dir: Path, taken: Iterable[str], naming: Naming, listed: Path | None
) -> list[str]:
    """Image files that a data set leaves out: of other names, without a label, or not listed.

    Args:
        image_dir: folder of images, see `list_pairs`.
        taken: images and label maps that it has.
        naming: how the files are called.
        listed: file that names the images.

    Returns:
        Their paths; none where nothing can be left out but by an error.
    """
    if naming in (PLAIN_NAMES, Naming(nested=True)) and listed is None:
        return []
    plain, known = Naming(nested=naming.nested), set(taken)
    files = _files(image_dir, IMAGE_SUFFIXES, plain, False, None)
    return [path for _, path in files if path not in known]


def same_files(pairs: Iterable[tuple[Any, Any]]) -> list[str]:
    """Those first files that are the second ones, too, be it by a link."""
    return [str(a) for a, b in pairs if os.path.samefile(a, b)]


def refuse_same_files(where: str, pairs: Iterable[tuple[Any, Any]], what: str = "image") -> None:
    """Refuse files that are their own label.

    Args:
        where: begins the message.
        pairs: images or predictions, each with its label map; all there.
        what: the first ones are.

    Raises:
        ValueError: names some of them.
    """
    if own := same_files(pairs):
        endings = ", or endings that tell them apart (image_ending, label_ending)"
        raise ValueError(
            f"{where}: expected label maps in files of their own, got {len(own)} that are their "
            f"{what}s, too: {some_of(own, 3)}. Give the folder of the label maps"
            f"{endings if what == 'image' else ''}."
        )


def _as(naming: Naming) -> str:
    """How files have to be called, where that may be why there are none."""
    asked = {k: v for k, v in vars(naming).items() if isinstance(v, str) and v}
    if not asked:
        return ""
    return f" Files count as {', '.join(f'{k}={v}' for k, v in asked.items())} say."


def listed_keys(name: str, list_file: Path, images: dict[str, str]) -> set[str]:
    """Keys of the images that a list names: by stem or path, with or without suffix and label.

    Raises:
        ValueError: if it is empty or names an image that is not there.
    """
    by_name: dict[str, list[str]] = {}
    for key, path in images.items():
        for stem in {os.path.basename(key), same_name(os.path.splitext(os.path.basename(path))[0])}:
            by_name.setdefault(stem, []).append(key)
    text = same_name(read_text(list_file, f"Data set {name}"))
    lines = [line.strip() for line in text.splitlines()]
    found, missing = set(), []
    for line in filter(None, lines):
        # A second column names the label map, in PASCAL VOC's and many other lists.
        hits = _named(line, by_name, images) or _named(line.split()[0], by_name, images)
        found.update(hits[:1])
        if len(hits) != 1:
            missing.append(line)
    if found and not missing:
        return found
    raise ValueError(
        f"Data set {name}: expected the images that {list_file} lists, got "
        f"{len(missing)} of {len(missing) + len(found)} missing: "
        f"{some_of(missing) or 'an empty list'}. Add them (unpack a download anew), correct the "
        "list, or write whole paths where several images have one name."
    )


def _named(text: str, by_name: dict[str, list[str]], images: dict[str, str]) -> list[str]:
    """Keys of the images that a line may mean."""
    path, suffix = os.path.splitext(text.replace("\\", "/").removeprefix("./"))
    path = path if suffix.lower() in IMAGE_SUFFIXES else path + suffix
    hits = by_name.get(path.rpartition("/")[2], [])
    if len(hits) == 1:
        return hits
    stems = {key: os.path.splitext(images[key])[0].replace(os.sep, "/") for key in hits}
    return [key for key, stem in stems.items() if key == path or stem.endswith(f"/{path}")]


def _refuse_single(
    name: str, rule: str, files: dict[str, str], partners: Iterable[str], partner_dir: Path
) -> None:
    single = sorted(files.keys() - set(partners))
    if not single:
        return
    shown = some_of([os.path.basename(files[stem]) for stem in single])
    raise ValueError(
        f"Data set {name}: expected {rule}, got no partner in {partner_dir} for {shown} "
        f"({len(single)} of {len(files)} files). Add the missing files (same name, other suffix) "
        "or remove these; where names differ otherwise, give image_ending and label_ending; "
        "labels_select=true takes the images that have a label."
    )
