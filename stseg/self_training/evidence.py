"""What changed between two snapshots of the same images: figures, without a judgement.

Shapes: N images, T classes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from stseg.self_training.snapshot import UNKNOWN, Snapshot, class_counts


@dataclass(frozen=True)
class ClassChange:
    """One class then and now.

    Attributes:
        name: display name.
        area_start: share of all pixels it won at the start, in [0, 1].
        area_now: the same now.
        sure_start: share of all pixels where the start was sure of it.
        kept_sure: share of those that are still its own; None where there are none.
        coverage_start: share of its pixels that the pseudo-labels accepted; None where not known.
        coverage_now: the same now.
    """

    name: str
    area_start: float
    area_now: float
    sure_start: float
    kept_sure: float | None
    coverage_start: float | None
    coverage_now: float | None


@dataclass(frozen=True)
class Evidence:
    """Figures of a model now against the starting model, on the same images.

    Shares and entropies lie in [0, 1]; None stands for what was not measured or cannot be.

    Attributes:
        images: how many.
        finite: whether all figures of both models are finite.
        changed: share of the pixels with another class than at the start.
        sure: share of the pixels the start was sure of.
        agreement: share of those that keep their class.
        drift: total variation of the class histogram: half the sum of the changes of area.
        entropy_start: mean normalised entropy at the start.
        entropy_now: the same now.
        entropy_error: standard error of the mean change over the images; None for one image.
        stability_start: share of the pixels that keep their class on mirrored copies.
        stability_now: the same now.
        stability_error: standard error of the mean change over the images.
        source_miou_start: mIoU on the source set, points.
        source_miou_now: the same now.
        classes: the classes seen in either snapshot, largest change of area first.
    """

    images: int
    finite: bool
    changed: float
    sure: float
    agreement: float | None
    drift: float
    entropy_start: float
    entropy_now: float
    entropy_error: float | None
    stability_start: float
    stability_now: float
    stability_error: float | None
    source_miou_start: float | None
    source_miou_now: float | None
    classes: tuple[ClassChange, ...]

    def to_dict(self) -> dict[str, Any]:
        """Flat and fit for strict JSON: no NaN; classes as a list of dicts."""
        content = asdict(self)
        content["classes"] = [_without_nan(row) for row in content["classes"]]
        return _without_nan(content)

    def rows(self) -> list[tuple[str, str, str]]:
        """Figure, start and now as texts, for a table or a page; "-" where not measured."""
        return [
            ("images judged", "", str(self.images)),
            ("pixels that changed class", "", _percent(self.changed)),
            ("pixels the start was sure of", _percent(self.sure), ""),
            ("... that keep their class", "", _percent(self.agreement)),
            ("drift of the class histogram", "", _percent(self.drift)),
            ("entropy (0 to 1)", _number(self.entropy_start), _number(self.entropy_now)),
            (
                "stable on mirrored copies",
                _percent(self.stability_start),
                _percent(self.stability_now),
            ),
            ("source mIoU", _number(self.source_miou_start, 2), _number(self.source_miou_now, 2)),
        ]

    def class_rows(self, limit: int | None = 20) -> list[tuple[str, ...]]:
        """Per class: name, area then and now, sure pixels kept, coverage then and now, as texts."""
        return [
            (
                row.name,
                *map(_percent, (row.area_start, row.area_now, row.kept_sure)),
                *map(_percent, (row.coverage_start, row.coverage_now)),
            )
            for row in self.classes[:limit]
        ]

    def to_line(self) -> str:
        """What was measured but for the classes, in one line."""
        return "; ".join(
            f"{name} {f'{start} -> {now}' if start and now else start or now}"
            for name, start, now in self.rows()
            if now != "-"
        )

    def to_text(self, limit: int | None = 20) -> str:
        """Both tables as text, the second with at most `limit` classes."""
        figures = tabulate(self.rows(), headers=("", "start", "now"), disable_numparse=True)
        header = ("class", "area", "area now", "sure kept", "coverage", "coverage now")
        classes = tabulate(self.class_rows(limit), headers=header, disable_numparse=True)
        left = len(self.classes) - len(self.class_rows(limit))
        return f"{figures}\n\n{classes}" + (f"\n({left} more classes)" if left else "")


def compare(start: Snapshot, now: Snapshot, sure_thresh: float) -> Evidence:
    """Measure what changed.

    Args:
        start: of the starting model.
        now: of the present model, on the same images.
        sure_thresh: confidence in [0, 1] from which the start counts as sure.

    Raises:
        ValueError: if the snapshots show other images or classes.
    """
    _check_pair(start, now)
    before, after = start.all_labels, now.all_labels
    # Stored as float16: 0.9 comes back as 0.8999.
    sure = (start.all_confidence >= np.float16(sure_thresh)) & (before != UNKNOWN)
    kept = sure & (before == after)
    drift = np.abs(start.class_areas - now.class_areas).sum()
    # Pixels without a class are one more bin.
    drift += abs(float((before == UNKNOWN).mean()) - float((after == UNKNOWN).mean()))
    return Evidence(
        images=len(now.images),
        finite=_is_finite(start) and _is_finite(now),
        changed=float((before != after).mean()),
        sure=float(sure.mean()),
        agreement=float(kept.sum() / sure.sum()) if sure.any() else None,
        drift=float(drift / 2),
        entropy_start=float(start.entropy.mean()),
        entropy_now=float(now.entropy.mean()),
        entropy_error=_standard_error(now.entropy - start.entropy),
        stability_start=float(start.stability.mean()),
        stability_now=float(now.stability.mean()),
        stability_error=_standard_error(now.stability - start.stability),
        source_miou_start=start.source_miou,
        source_miou_now=now.source_miou,
        classes=_class_changes(start, now, before[sure], before[kept]),
    )


def _class_changes(
    start: Snapshot, now: Snapshot, sure: np.ndarray, kept: np.ndarray
) -> tuple[ClassChange, ...]:
    """Args: sure: ids of the sure pixels; kept: ids of those that keep their class."""
    count = len(start.classes)
    areas, areas_now = start.class_areas, now.class_areas
    sure_counts, kept_counts = class_counts(sure, count), class_counts(kept, count)
    shown = np.flatnonzero((areas > 0) | (areas_now > 0))
    largest_first = shown[np.argsort(-np.abs(areas_now - areas)[shown], kind="stable")]
    pixels = sum(label.size for label in start.labels)
    return tuple(
        ClassChange(
            name=start.classes[c],
            area_start=float(areas[c]),
            area_now=float(areas_now[c]),
            sure_start=float(sure_counts[c] / pixels),
            kept_sure=float(kept_counts[c] / sure_counts[c]) if sure_counts[c] else None,
            coverage_start=_entry(start.coverage, c),
            coverage_now=_entry(now.coverage, c),
        )
        for c in largest_first
    )


def _check_pair(start: Snapshot, now: Snapshot) -> None:
    if start.classes != now.classes:
        raise ValueError("Guard: expected snapshots of one vocabulary, got two vocabularies.")
    if start.images != now.images or [a.shape for a in start.labels] != [
        a.shape for a in now.labels
    ]:
        raise ValueError(
            f"Guard: expected snapshots of the same images, got {len(start.images)} and "
            f"{len(now.images)} that differ. Make the start's anew."
        )


def _is_finite(snapshot: Snapshot) -> bool:
    arrays = snapshot.all_confidence, snapshot.entropy, snapshot.stability
    miou = snapshot.source_miou
    return all(np.isfinite(a).all() for a in arrays) and (miou is None or math.isfinite(miou))


def _standard_error(changes: np.ndarray) -> float | None:
    return float(changes.std(ddof=1) / math.sqrt(changes.size)) if changes.size > 1 else None


def _entry(values: np.ndarray | None, index: int) -> float | None:
    return None if values is None or np.isnan(values[index]) else float(values[index])


def _without_nan(content: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in content.items()
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
