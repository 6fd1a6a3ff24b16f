"""Checks of the files themselves, their encoding and size: pure functions of the facts of one pass.

Each takes the target and what `scan` found and returns findings.
"""

from __future__ import annotations

from collections.abc import Sequence

from stseg.data import labels_may_be_turned
from stseg.tools.verification.data_set import Target
from stseg.tools.verification.finding import Finding, about_files
from stseg.tools.verification.scan import FileFacts

#: Aspect ratios that differ less than this, relatively, are one: resizing rounds to whole pixels.
ASPECT_TOLERANCE = 0.02
#: Short side of the images that the script of ADE20K-847 writes.
ADE_FULL_SIDE = 512

_ID_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF", "JPEG2000")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height

# What is wrong, and the cure.
_SIZE_FAULTS = {
    "exif-rotation": (
        "expected labels of images as people see them, got {count} drawn on the image before its "
        "EXIF rotation",
        "Rotate these labels, or save the images without EXIF rotation.",
    ),
    "raw-size-labels": (
        "expected labels as small as their resized images, got {count} of the original size",
        "",
    ),
    "scaled-labels": (
        "expected labels of the size of their images, got {count} of another scale",
        "Resize the labels by nearest neighbour, or use the images they were made for.",
    ),
    "size-mismatch": (
        "expected labels of the size of their images, got {count} of another shape",
        "They belong to other images, or are turned or cropped.",
    ),
}


def check_files(target: Target, facts: Sequence[FileFacts]) -> list[Finding]:
    """Files that cannot be opened or decoded."""
    images = [f.image for f in facts if f.image_error]
    labels = [f for f in facts if f.is_undecodable]
    missing = [f.label for f in labels if f.label_error == "missing"]
    broken = [f.label for f in labels if f.label_error != "missing"]
    return (
        about_files(
            "broken-image",
            "expected complete images, got {count} that cannot be decoded",
            "Unpack the download anew, or remove the image together with its label.",
            images,
        )
        + about_files(
            "broken-label",
            "expected complete label maps, got {count} that cannot be decoded",
            f"Delete them. {target.remedy}",
            broken,
        )
        + about_files(
            "missing-label",
            "expected a label map for every image, got {count} that are not there",
            target.remedy,
            missing,
        )
    )


def check_encoding(target: Target, facts: Sequence[FileFacts]) -> list[Finding]:
    """Label files that do not hold one id per pixel, or cannot hold all ids."""
    coloured = [f for f in facts if f.label_mode and f.label_mode not in _ID_MODES]
    coloured = [f for f in coloured if not f.has_ids]
    unread = [f for f in facts if f.label_error and not f.is_undecodable]
    lossy = [f.label for f in facts if f.label_format in _LOSSY or "without loss" in f.label_error]
    pages = [f.label for f in unread if "expected one map" in f.label_error]
    stretched = [f.label for f in unread if "2 or 4 bits" in f.label_error]
    narrow = [f.label for f in facts if f.label_mode in ("1", "L", "P")]
    findings = (
        about_files(
            "coloured-labels",
            "expected one id per pixel (grey or palette), got {count} label maps with colours",
            _cure_of_colours(target, coloured),
            [f.label for f in coloured],
        )
        + about_files(
            "stretched-labels",
            "expected grey of 8 or 16 bits, got {count} label maps of 2 or 4 bits, which readers "
            "stretch to 0..255",
            "Save them as grey of 8 bits or with a palette.",
            stretched,
        )
        + about_files(
            "lossy-labels",
            "expected lossless label maps, got {count} compressed with loss, whatever their suffix",
            f"Their ids are lost. {target.remedy}",
            lossy,
        )
    )
    findings += about_files(
        "several-pages",
        "expected one label map per file, got {count} files of several frames or pages",
        "Save the one that is meant.",
        pages,
    )
    told = {*(f.label for f in coloured), *lossy, *pages, *stretched}
    others = [f for f in unread if f.label not in told]
    findings += about_files(
        "unread-labels",
        f"expected label maps that can be read, got {{count}} that cannot; the first: "
        f"{others[0].label_error if others else ''}",
        "",
        [f.label for f in others],
    )
    if len(target.names) > 256:
        findings += about_files(
            "8-bit-labels",
            f"expected 16 bits per pixel for {len(target.names)} classes, got {{count}} label "
            "maps of 8 bits",
            f"Ids above 255 are lost. {target.remedy}",
            narrow,
        )
    return findings


def _cure_of_colours(target: Target, coloured: Sequence[FileFacts]) -> str:
    if target.coding is None or not coloured:
        return f"Colours are for people, not for training. {target.remedy}"
    return f"The first: {coloured[0].label_error}"


def check_sizes(target: Target, facts: Sequence[FileFacts]) -> list[Finding]:
    """Label maps whose size is not that of the image as people see it."""
    sized = [f for f in facts if all(f.image_size) and all(f.label_size)]
    wrong = [(f, _size_fault(target, f)) for f in sized if f.label_size != _seen_size(f)]
    findings = []
    for code, (text, cure) in _SIZE_FAULTS.items():
        concerned = [f for f, fault in wrong if fault == code]
        findings += _about_sizes(code, text, f"{cure} {target.cure}".strip(), concerned)
    return findings + about_files(
        "exif-mirrored",
        "{count} images are turned or mirrored by EXIF, and their sizes cannot tell whether their "
        "labels are, too",
        f"Look at them with python -m stseg.data show {target.name}.",
        [f.image for f in sized if labels_may_be_turned(f.orientation, f.image_size)],
        is_note=True,
    )


def _size_fault(target: Target, fact: FileFacts) -> str:
    """Key in `_SIZE_FAULTS` of a label map that has not the size of its image."""
    if fact.orientation in _TURNED and fact.label_size == fact.image_size:
        return "exif-rotation"
    if target.family == "ade-847" and _is_raw_size(fact):
        return "raw-size-labels"
    return "scaled-labels" if _same_aspect(fact) else "size-mismatch"


def _seen_size(fact: FileFacts) -> tuple[int, int]:
    width, height = fact.image_size
    return (height, width) if fact.orientation in _TURNED else (width, height)


def _same_aspect(fact: FileFacts) -> bool:
    width, height = _seen_size(fact)
    label_width, label_height = fact.label_size
    ratio = (width / height) / (label_width / label_height)
    return abs(ratio - 1) < ASPECT_TOLERANCE


def _is_raw_size(fact: FileFacts) -> bool:
    is_small = min(fact.image_size) == ADE_FULL_SIDE
    return is_small and min(fact.label_size) > ADE_FULL_SIDE and _same_aspect(fact)


def _about_sizes(code: str, text: str, cure: str, facts: Sequence[FileFacts]) -> list[Finding]:
    if facts:
        first = facts[0]
        sizes = [f"{w} x {h}" for w, h in (first.label_size, _seen_size(first))]
        text += f"; the first is {sizes[0]}, its image {sizes[1]} (width x height)"
    return about_files(code, text, cure, [f.label for f in facts])
