"""Which image belongs to which label map, and every file that belongs to none.

The loader refuses a folder at its first defect; this collects all of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from stseg.data import IMAGE_SUFFIXES, LABEL_SUFFIXES
from stseg.tools.verification.data_set import Listed, Pair, Target
from stseg.tools.verification.finding import Finding, about_files
from stseg.utils import same_name


@dataclass
class _Files:
    """What lies in a folder, by stem (path below the folder without suffix)."""

    good: dict[str, str] = field(default_factory=dict)
    doubles: list[str] = field(default_factory=list)
    strays: dict[str, str] = field(default_factory=dict)


def list_folder(target: Target) -> Listed:
    """Pair the files of a folder data set.

    Args:
        target: with an image folder.

    Returns:
        Every pair that is certain, and a finding for every kind of file that is not.
    """
    assert target.image_dir is not None, "a folder data set has an image folder"
    images, is_below = _search(target.image_dir, IMAGE_SUFFIXES, target.image_ending)
    findings = _double(images, "images")
    if is_below and not target.nested:
        text = f"expected images right in {target.image_dir}, got them only in folders below"
        findings.append(Finding("nested", text, "Name one of these folders, or move the files up."))
    if not images.good:
        findings.append(_empty("images", IMAGE_SUFFIXES, target.image_dir, images))
    if target.label_dir is None:
        return Listed(target, tuple(Pair(p) for _, p in sorted(images.good.items())), (*findings,))
    labels, _ = _search(target.label_dir, LABEL_SUFFIXES, target.label_ending)
    findings += _double(labels, "label maps")
    if not labels.good:
        findings.append(_empty("label maps", LABEL_SUFFIXES, target.label_dir, labels))
    if labels.good and images.good:
        findings += _single(target, images, labels)
    both = sorted(images.good.keys() & labels.good.keys())
    pairs = tuple(Pair(images.good[stem], labels.good[stem]) for stem in both)
    return Listed(target, pairs, (*findings,))


def wrong_suffixes(target: Target) -> list[Finding]:
    """Label files that the loader passes over because of their suffix, beside good ones."""
    if not (target.image_dir and target.label_dir):
        return []
    if not (target.image_dir.is_dir() and target.label_dir.is_dir()):
        return []
    images, _ = _search(target.image_dir, IMAGE_SUFFIXES, target.image_ending)
    labels, _ = _search(target.label_dir, LABEL_SUFFIXES, target.label_ending)
    return _suffixes(images, labels)


def _search(folder: Path, suffixes: tuple[str, ...], ending: str) -> tuple[_Files, bool]:
    """Files right in the folder; in folders below if there are none (and then True)."""
    files = _collect(folder, (entry.path for entry in os.scandir(folder)), suffixes, ending)
    if files.good or files.strays:
        return files, False
    below = (
        os.path.join(path, name)
        for path, folders, names in os.walk(folder)
        for name in names
        if not os.path.basename(path).startswith(".")
    )
    files = _collect(folder, below, suffixes, ending)
    return files, bool(files.good)


def _collect(folder: Path, paths: Iterable[str], suffixes: tuple[str, ...], ending: str) -> _Files:
    files = _Files()
    for path in sorted(paths):
        name = os.path.relpath(path, folder)
        stem, suffix = os.path.splitext(name)
        if os.path.basename(name).startswith(".") or not stem.endswith(ending):
            continue
        if not os.path.isfile(path):
            continue
        stem = same_name(stem.removesuffix(ending))
        if suffix.lower() not in suffixes:
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
    if target.labels_select:
        no_label = []
    common = _common_ending(no_label or list(images.good), no_image)
    hint = (
        f"The labels end in {common!r} before their suffix: rename them like their images."
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
