"""Checks of what the files hold: pure functions of the facts of one pass.

Each takes the target and what `scan` found and returns findings. Thresholds are constants here,
with the reason for each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from stseg.data.verification.finding import Finding, about_files, join_ids
from stseg.data.verification.official import official_for
from stseg.data.verification.scan import FileFacts, Histogram
from stseg.data.verification.target import Target

#: Share of ignored pixels from which a whole data set is suspect. VOC-20, where background is
#: ignored, has about 0.75; its 15/5 training split about 0.85.
MOST_IGNORED = 0.95
#: Aspect ratios that differ less than this, relatively, are one: resizing rounds to whole pixels.
ASPECT_TOLERANCE = 0.02
#: Short side of the images that the script of ADE20K-847 writes.
ADE_FULL_SIDE = 512

_ID_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")
_LOSSY = ("JPEG", "MPO", "WEBP")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_MIRRORED = (2, 3, 4)


def check_files(target: Target, facts: Sequence[FileFacts]) -> list[Finding]:
    """Files that cannot be opened or decoded."""
    images = [f.image for f in facts if f.image_error]
    labels = [f for f in facts if f.label_error and (not f.label_mode or _is_broken(f))]
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
    coloured = [f.label for f in facts if f.label_mode and f.label_mode not in _ID_MODES]
    stretched = [
        f.label for f in facts if f.label_error and f.label_mode in _ID_MODES and not _is_broken(f)
    ]
    lossy = [f.label for f in facts if f.label_format in _LOSSY]
    narrow = [f.label for f in facts if f.label_mode in ("1", "L", "P")]
    findings = (
        about_files(
            "coloured-labels",
            "expected one id per pixel (grey or palette), got {count} label maps with colours",
            f"Colours are for people, not for training. {target.remedy}",
            coloured,
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
    if len(target.names) > 256:
        findings += about_files(
            "8-bit-labels",
            f"expected 16 bits per pixel for {len(target.names)} classes, got {{count}} label "
            "maps of 8 bits",
            f"Ids above 255 are lost. {target.remedy}",
            narrow,
        )
    return findings


def check_sizes(target: Target, facts: Sequence[FileFacts]) -> list[Finding]:
    """Label maps whose size is not that of the image as people see it."""
    sized = [f for f in facts if f.image_size and f.label_size]
    wrong = [f for f in sized if f.label_size != _seen_size(f)]
    unturned = [f for f in wrong if f.orientation in _TURNED and f.label_size == f.image_size]
    raw = [f for f in wrong if target.family == "ade-847" and _is_raw_size(f)]
    rest = [f for f in wrong if f not in unturned and f not in raw]
    scaled = [f for f in rest if _same_aspect(f)]
    other = [f for f in rest if f not in scaled]
    mirrored = [f for f in sized if f.orientation in _MIRRORED]
    return (
        _about_sizes(
            "exif-rotation",
            "expected labels of images as people see them, got {count} drawn on the image before "
            "its EXIF rotation",
            "Rotate these labels, or save image without EXIF rotation.",
            unturned,
        )
        + _about_sizes(
            "raw-size-labels",
            "expected labels as small as their resized images, got {count} of the original size",
            target.remedy,
            raw,
        )
        + _about_sizes(
            "scaled-labels",
            "expected labels of the size of their images, got {count} of another scale",
            "Resize the labels by nearest neighbour, or use the images they were made for. "
            + target.cure,
            scaled,
        )
        + _about_sizes(
            "size-mismatch",
            "expected labels of the size of their images, got {count} of another shape",
            "They belong to other images, or are turned or cropped. " + target.cure,
            other,
        )
        + about_files(
            "exif-mirrored",
            "{count} images are turned by 180 degrees or mirrored by EXIF; sizes cannot tell "
            "whether their labels are, too",
            f"Look at them with python -m stseg.data show {target.name}.",
            [f.image for f in mirrored],
            is_note=True,
        )
    )


def check_ids(
    target: Target,
    facts: Sequence[FileFacts],
    histogram: Histogram,
    explained: Collection[int] = (),
) -> list[Finding]:
    """Ids that are neither classes nor ignored, or must not be there.

    Args:
        target: the measure.
        facts: of the files.
        histogram: of the facts.
        explained: ids that another finding deals with already.
    """
    outside = _outside(target, histogram.ids, explained)
    withheld = histogram.ids[np.isin(histogram.ids, target.withheld)]
    last = len(target.names) - 1
    text = (
        f"expected ids 0 to {last} or the ignored {join_ids(target.ignore)}, got "
        f"{join_ids(outside)} ({_percent(histogram.share(*outside))} of the pixels) in {{count}} "
        "label maps"
    )
    leak = ", ".join(f"{i} {target.names[i]}" for i in withheld[:8].tolist())
    return about_files(
        "ids-out-of-range", text, _hint(target, outside, histogram), _with_ids(facts, outside)
    ) + about_files(
        "withheld-classes",
        f"expected no unseen class in a zero-shot training split, got {leak} in {{count}} label "
        "maps",
        target.remedy,
        _with_ids(facts, withheld),
    )


def check_histogram(
    target: Target, facts: Sequence[FileFacts], histogram: Histogram, *, whole: bool
) -> list[Finding]:
    """Share of ignored pixels, and classes that never occur.

    Args:
        target: the measure.
        facts: of the files.
        histogram: of the facts.
        whole: all official images were looked at.
    """
    if not histogram.num_images:
        return []
    findings = []
    ignored = histogram.share(*target.ignore)
    if ignored >= MOST_IGNORED:
        findings.append(
            Finding(
                "mostly-ignored",
                f"expected classes in the label maps, got {_percent(ignored)} of the pixels "
                f"ignored ({join_ids(target.ignore)})",
                f"Wrong maps, or an ignored id that is a class. {target.remedy}",
            )
        )
    empty = [f.label for f in facts if f.has_ids and np.isin(f.ids, target.ignore).all()]
    findings += about_files(
        "nothing-labelled",
        "{count} label maps hold ignored pixels only",
        "No harm; they teach nothing and count nothing.",
        empty,
        is_note=True,
    )
    return findings + _never_seen(target, histogram, whole)


def _never_seen(target: Target, histogram: Histogram, whole: bool) -> list[Finding]:
    classes = set(range(len(target.names))) - set(target.withheld)
    unseen = sorted(classes - set(histogram.ids.tolist()))
    if not unseen:
        return []
    official = official_for(target.name)
    known = official.absent if official else None
    # A zero-shot split names all classes; those it withholds are not counted here.
    allowed = None if known is None else max(known - len(target.withheld), 0)
    if official and not whole:
        return []  # a sample: the table says how many classes it has
    wrong = whole and allowed is not None and len(unseen) > allowed
    names = ", ".join(f"{i} {target.names[i].split(',')[0]}" for i in unseen[:8])
    more = f" and {len(unseen) - 8} more" if len(unseen) > 8 else ""
    return [
        Finding(
            "classes-never-seen",
            f"{len(unseen)} of {len(target.names)} classes are in none of the "
            f"{histogram.num_images} label maps: {names}{more}",
            target.remedy if wrong else "",
            is_note=not wrong,
        )
    ]


def _hint(target: Target, outside: np.ndarray, histogram: Histogram) -> str:
    """What ids out of range point at."""
    count = len(target.names)
    if not len(outside):
        return ""
    if outside.tolist() == [count] and not target.cure:
        return (
            f"Ids seem to run from 1 to {count}: subtract 1. If {count} means 'no class', say so: "
            f'"ignore": {count} in the names file.'
        )
    if set(outside.tolist()) <= {255, 65535}:
        return (
            f"{join_ids(outside)} usually means 'no class': say so with \"ignore\" in the names "
            f"file, now {join_ids(target.ignore)}. {target.cure}"
        )
    return target.remedy


def _outside(target: Target, ids: np.ndarray, explained: Collection[int]) -> np.ndarray:
    allowed = [*range(len(target.names)), *target.ignore, *explained]
    return ids[~np.isin(ids, allowed)]


def _with_ids(facts: Sequence[FileFacts], ids: np.ndarray) -> list[str]:
    if not len(ids):
        return []
    return [f.label for f in facts if f.has_ids and np.isin(f.ids, ids).any()]


def _is_broken(fact: FileFacts) -> bool:
    """Whether the file is damaged, rather than of a kind that holds no ids."""
    return "cannot be decoded" in fact.label_error


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
    return about_files(code, text, cure.strip(), [f.label for f in facts])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
