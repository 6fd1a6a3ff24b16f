"""Prepared folders that hold the download's own maps: compared pixel by pixel where both exist."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stseg.data import read_ids
from stseg.tools.verification.data_set import Target
from stseg.tools.verification.finding import Finding, about_files
from stseg.tools.verification.scan import FileFacts, spread

#: Label maps compared, evenly spread over the data set.
SAMPLES = 16

# The lowest id that preparing changes. COCO-Stuff is the same below 11, the first unused id.
_FIRST_CHANGED = {"coco-stuff": 11, "ade-150": 0, "voc-20": 0, "voc-20b": 0}
_PREPARED = "_detectron2"


def find_raw_copies(target: Target, facts: Sequence[FileFacts]) -> list[Finding]:
    """Label maps that are equal to the raw map of the same image, and must not be.

    Args:
        target: the measure.
        facts: of the files.
    """
    first = _FIRST_CHANGED.get(target.family)
    if first is None:
        return []
    changed = [f.label for f in facts if f.has_ids and _holds_between(f, first, 255)]
    raws = [(label, _raw_map(Path(label))) for label in spread(changed, SAMPLES)]
    pairs = [(label, raw) for label, raw in raws if raw is not None]
    copies = [label for label, raw in pairs if _are_equal(label, raw)]
    text = "expected prepared maps, got {count} of " + str(len(pairs))
    return about_files(
        "raw-copies",
        f"{text} looked at that equal the unprepared map of the download",
        target.remedy,
        copies,
    )


def _holds_between(fact: FileFacts, first: int, end: int) -> bool:
    return bool(((fact.ids >= first) & (fact.ids < end)).any())


def _raw_map(label: Path) -> Path | None:
    """Where the download has the map of the same image: "x_detectron2" stands beside "x"."""
    for folder in label.parents:
        if folder.name.endswith(_PREPARED):
            raw = folder.with_name(folder.name.removesuffix(_PREPARED)) / label.relative_to(folder)
            return raw if raw.is_file() else _raw_voc_map(folder, label)
        if folder.name == f"annotations{_PREPARED}_bg":
            return _raw_voc_map(folder, label)
    return None


def _raw_voc_map(folder: Path, label: Path) -> Path | None:
    raws = (folder.with_name(n) / label.name for n in ("SegmentationClassAug", "SegmentationClass"))
    return next((raw for raw in raws if raw.is_file()), None)


def _are_equal(label: str, raw: Path) -> bool:
    try:
        return np.array_equal(read_ids(label), read_ids(raw))
    except (OSError, ValueError):
        return False  # a raw file that cannot be read proves nothing
