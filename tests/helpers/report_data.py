"""Small report entries, for the tests of the report and of its page in a browser."""

from collections.abc import Sequence

import numpy as np

from stseg.self_training.page_pictures import ReportEntry
from stseg.self_training.pseudo_label import ClassRecord, PseudoLabel


def make_record(class_id: int, name: str, accepted: bool = True, **parts) -> ClassRecord:
    reason = "" if accepted else "score 0.41 below 0.90"
    values = {"score": 0.95 if accepted else 0.41, "initial_pixels": 40, "refined_pixels": 30}
    iou = 0.8 if accepted else None
    return ClassRecord(
        class_id, name, accepted=accepted, reason=reason, predicted_iou=iou, **{**values, **parts}
    )


def make_entry(
    name: str,
    names: Sequence[str],
    shape: tuple[int, int] = (60, 90),
    map_shape: tuple[int, int] | None = None,
    *,
    with_initial: bool = True,
    with_before: bool = False,
    with_after: bool = False,
) -> ReportEntry:
    """A random photo; vertical stripes of the classes as initial map, the right half ignored."""
    height, width = map_shape or shape
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    stripes = np.arange(width) * len(names) // width
    initial = np.broadcast_to(stripes, (height, width)).astype(np.int32)
    refined = initial.copy()
    refined[:, width // 2 :] = -1
    records = tuple(make_record(i, n, accepted=i < len(names) / 2) for i, n in enumerate(names))
    label = PseudoLabel(refined, initial if with_initial else None, records)
    before, after = refined if with_before else None, initial if with_after else None
    return ReportEntry(name, photo, label, before=before, after=after)
