"""Which image belongs to which label map, and every file that belongs to none.

The loader refuses a folder at its first defect; this collects all of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stseg.config import is_folder
from stseg.data import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    folders_of,
    listed_keys,
    not_taken,
    same_files,
)
from stseg.tools.verification.data_set import Listed, Pair, Target
from stseg.tools.verification.finding import Finding, about_files


@dataclass
class _Files:
    """What lies in a folder, by stem (path below the folder without suffix)."""

    good: dict[str, str] = field(default_factory=dict)
    doubles: list[str] = field(default_factory=list)
    strays: dict[str, str] = field(default_factory=dict)

    def drop(self, paths: Iterable[str]) -> None:
        """Forget good files."""
        gone = set(paths)
        self.good = {stem: path for stem, path in self.good.items() if path not in gone}


def list_folder(target: Target) -> Listed:
    """Pair the files of a folder data set.

    Args:
        target: with an image folder.

    Returns:
        Every pair that is certain, and a finding for every kind of file that is not.
    """
    assert target.image_dir is not None, "a folder data set has an image folder"
    images, is_below = _search(target, IMAGE_SUFFIXES, is_label=False)
    labels = _Files()
    if target.label_dir is not None:
        labels, _ = _search(target, LABEL_SUFFIXES, is_label=True)
        if target.label_dir == target.image_dir and (
            target.naming.label_ending or target.naming.label_beginning
        ):
            images.drop(labels.good.values())
    findings = _double(images, "images")
    if is_below:
        text = f"expected images right in {target.image_dir}, got them only in folders below"
        findings.append(Finding("nested", text, "Name one of these folders, or move the files up."))
    if not images.good:
        findings.append(_empty("images", IMAGE_SUFFIXES, target.image_dir, images))
    elif target.listed is not None:
        findings += _choose(target, target.listed, images, labels)
    if target.label_dir is None:
        return Listed(target, tuple(Pair(p) for _, p in sorted(images.good.items())), (*findings,))
    findings += _double(labels, "label maps")
    if not labels.good:
        findings.append(_empty("label maps", LABEL_SUFFIXES, target.label_dir, labels))
    if labels.good and images.good:
        findings += _single(target, images, labels)
    both = sorted(images.good.keys() & labels.good.keys())
    own = set(same_files((images.good[stem], labels.good[stem]) for stem in both))
    findings += about_files(
        "own-label",
        "expected label maps in files of their own, got {count} images that are their own label",
        "Give the folder of the label maps, or endings that tell them apart: image_ending, "
        "label_ending.",
        sorted(own),
    )
    pairs = tuple(
        Pair(images.good[stem], labels.good[stem]) for stem in both if images.good[stem] not in own
    )
    return Listed(target, pairs, (*findings,) if findings else (*left_out(target, pairs),))


def left_out(target: Target, pairs: Iterable[Pair]) -> list[Finding]:
    """A note on the images that a data set of one's own does not take."""
    assert target.image_dir is not None
    taken = [path for pair in pairs for path in (pair.image, pair.label)]
    return about_files(
        "left-out",
        "{count} image files are left out, by their names, the list or for want of a label",
        "No harm where they are no images of this data set.",
        not_taken(target.image_dir, taken, target.naming, target.listed),
        is_note=True,
    )


def _choose(target: Target, listed: Path, images: _Files, labels: _Files) -> list[Finding]:
    """Leave the images and labels that a list names."""
    try:
        wanted = listed_keys(target.name, listed, images.good)
    except ValueError as error:
        return [Finding("wrong-list", str(error))]
    for files in (images, labels):
        files.drop(path for stem, path in list(files.good.items()) if stem not in wanted)
        files.strays = {stem: path for stem, path in files.strays.items() if stem in wanted}
    return []


def wrong_suffixes(target: Target) -> list[Finding]:
    """Label files that the loader passes over because of their suffix, beside good ones."""
    if not (target.image_dir and target.label_dir):
        return []
    if not (is_folder(target.image_dir) and is_folder(target.label_dir)):
        return []
    images, _ = _search(target, IMAGE_SUFFIXES, is_label=False)
    labels, _ = _search(target, LABEL_SUFFIXES, is_label=True)
    return _suffixes(images, labels)


def _search(target: Target, suffixes: tuple[str, ...], *, is_label: bool) -> tuple[_Files, bool]:
    """Files where the loader looks; where none are, in folders below (and then True)."""
    place, other = target.image_dir, target.label_dir
    if is_label:
        place, other = other, place
    assert place is not None
    nested = target.naming.nested
    files = _collect(target, _walk(place, other, deep=nested), suffixes, is_label)
    if nested or files.good or files.strays:
        return files, False
    files = _collect(target, _walk(place, other, deep=True), suffixes, is_label)
    return files, bool(files.good)


def _walk(place: Path, other: Path | None, *, deep: bool) -> Iterator[tuple[str, str]]:
    """Name, with "/", and path of every visible file, but those in the other folder."""
    for below, root in folders_of(place).items():
        for folder, inner, names in os.walk(root):
            inner[:] = [
                n for n in inner if deep and n[0] != "." and os.path.join(folder, n) != str(other)
            ]
            for name in names:
                path = os.path.join(folder, name)
                if name[0] != "." and not os.path.isdir(path):  # what is no file is named when read
                    yield below + os.path.relpath(path, root).replace(os.sep, "/"), path


def _collect(
    target: Target, found: Iterable[tuple[str, str]], suffixes: tuple[str, ...], is_label: bool
) -> _Files:
    files = _Files()
    for name, path in sorted(found):
        stem = target.naming.key_of(name, is_label=is_label)
        if stem is None:
            continue
        if not name.lower().endswith(suffixes):
            files.strays.setdefault(stem, path)
        elif stem in files.good:
            files.doubles += [files.good[stem], path]
        else:
            files.good[stem] = path
    return files


def _double(files: _Files, what: str) -> list[Finding]:
    return about_files(
        "duplicate-stems",
        f"expected one file per stem among the {what}, got {{count}} files that share one",
        "Remove or rename one of each; pairing would be a guess.",
        list(dict.fromkeys(files.doubles)),
    )


def _empty(what: str, suffixes: tuple[str, ...], folder: Path, files: _Files) -> Finding:
    others = Counter(os.path.splitext(path)[1] or "no suffix" for path in files.strays.values())
    got = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(3)) or "nothing"
    return Finding(
        "wrong-suffix" if others else "empty-folder",
        f"expected {what} ({' '.join(suffixes)}) in {folder}, got {got}",
        "Convert them (labels must be lossless)." if others else "Name the folder that holds them.",
        tuple(files.strays.values())[:5],
        len(files.strays),
    )


def _suffixes(images: _Files, labels: _Files) -> list[Finding]:
    stray_labels = [
        path
        for stem, path in labels.strays.items()
        if stem in images.good and stem not in labels.good
    ]
    stray_images = [
        path
        for stem, path in images.strays.items()
        if stem in labels.good and stem not in images.good
    ]
    return about_files(
        "wrong-suffix",
        f"expected label maps with {' '.join(LABEL_SUFFIXES)}, got {{count}} with another suffix",
        "Save them as PNG; JPEG and the like change ids.",
        stray_labels,
    ) + about_files(
        "wrong-suffix",
        f"expected images with {' '.join(IMAGE_SUFFIXES)}, got {{count}} with another suffix",
        "Convert them to one of these.",
        stray_images,
    )


def _single(target: Target, images: _Files, labels: _Files) -> list[Finding]:
    findings = _suffixes(images, labels)
    stray = {path for finding in findings for path in finding.files}
    no_image = sorted(labels.good.keys() - images.good.keys() - images.strays.keys())
    no_label = sorted(images.good.keys() - labels.good.keys() - labels.strays.keys())
    if target.naming.labels_select:
        no_label = []
    common = _common_ending(no_label or list(images.good), no_image)
    hint = (
        f"The labels end in {common!r} before their suffix: give label_ending={common}, or rename "
        "them like their images."
        if common
        else "Add the missing images, or remove these labels."
    )
    findings += about_files(
        "missing-image",
        f"expected an image for every label, got no partner in {target.image_dir} for {{count}}",
        hint,
        [labels.good[stem] for stem in no_image],
    )
    return findings + about_files(
        "missing-label",
        f"expected a label for every image, got no partner in {target.label_dir} for {{count}}",
        hint if common else target.cure or "Add the missing labels, or remove these images.",
        [path for stem in no_label if (path := images.good[stem]) not in stray],
    )


def _common_ending(images: list[str], labels: list[str]) -> str:
    """What all labels carry behind the stem of an image ("_labelTrainIds"), "" if nothing."""
    if not labels:
        return ""
    first = next((s for s in images if labels[0].startswith(s) and s != labels[0]), None)
    if first is None:
        return ""
    ending, stems = labels[0][len(first) :], set(images)
    return ending if all(label.removesuffix(ending) in stems for label in labels) else ""
