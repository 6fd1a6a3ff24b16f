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
from stseg.self_training.witness import Witness, class_shares


@dataclass(frozen=True)
class ClassChange:
    """One class then and now.

    Attributes:
        name: display name.
        area_start: share of all pixels it won at the start, in [0, 1].
        area_now: the same now.
        sure_start: share of all pixels where the start was sure of it.
        kept_sure: share of those that are still its own; None where there are none.
    """

    name: str
    area_start: float
    area_now: float
    sure_start: float
    kept_sure: float | None


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
        stability_start: share of the pixels that keep their class on mirrored copies.
        stability_now: the same now.
        class_stability_start: the same as a mean over the classes of the start.
        class_stability_now: the same now.
        information_start: mutual information of pixel and class, divided by log T: how much surer a
            pixel is of its class than all pixels together are. A model that says one class
            everywhere has none, and so has one that is sure of nothing.
        information_now: the same now.
        explained_start: share of the variance of the start's dense features that the start's labels
            explain, see `Witness`; None where there are no features.
        explained_now: the same for the labels of now.
        explained_error: standard error of their difference over the images.
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
    stability_start: float
    stability_now: float
    class_stability_start: float
    class_stability_now: float
    information_start: float
    information_now: float
    explained_start: float | None
    explained_now: float | None
    explained_error: float | None
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
            (
                "... mean over classes",
                _percent(self.class_stability_start),
                _percent(self.class_stability_now),
            ),
            (
                "information of pixels on classes",
                _number(self.information_start),
                _number(self.information_now),
            ),
            (
                "features explained by labels",
                _percent(self.explained_start),
                _percent(self.explained_now),
            ),
            ("source mIoU", _number(self.source_miou_start, 2), _number(self.source_miou_now, 2)),
        ]

    def class_rows(self, limit: int | None = 20) -> list[tuple[str, ...]]:
        """Per class: name, area then and now, sure pixels kept, as texts."""
        return [
            (
                row.name,
                *map(_percent, (row.area_start, row.area_now, row.kept_sure)),
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
        header = ("class", "area", "area now", "sure kept")
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
    explained = _explained(start, now)
    return Evidence(
        images=len(now.images),
        finite=_is_finite(start) and _is_finite(now),
        changed=float((before != after).mean()),
        sure=float(sure.mean()),
        agreement=float(kept.sum() / sure.sum()) if sure.any() else None,
        drift=float(drift / 2),
        entropy_start=float(start.entropy.mean()),
        entropy_now=float(now.entropy.mean()),
        stability_start=float(start.stability.mean()),
        stability_now=float(now.stability.mean()),
        class_stability_start=_class_stability(start),
        class_stability_now=_class_stability(now),
        information_start=_information(start),
        information_now=_information(now),
        explained_start=explained[0],
        explained_now=explained[1],
        explained_error=explained[2],
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
    arrays = snapshot.all_confidence, snapshot.entropy, snapshot.shares
    miou = snapshot.source_miou
    return all(np.isfinite(a).all() for a in arrays) and (miou is None or math.isfinite(miou))


def _explained(start: Snapshot, now: Snapshot) -> tuple[float | None, float | None, float | None]:
    """By the labels of both, and the standard error of the difference."""
    witness = Witness.of(start)
    if witness is None:
        return None, None, None
    before, after = (witness.unexplained(class_shares(x, start)) for x in (start, now))
    error = (after - before).std(ddof=1) * math.sqrt(len(after))
    return 1 - float(before.sum()), 1 - float(after.sum()), float(error)


def _information(snapshot: Snapshot) -> float:
    count = len(snapshot.classes)
    if count == 1:
        return 0.0
    mean = snapshot.shares.astype(np.float64).mean(axis=0)
    together = -(mean * np.log(np.maximum(mean, 1e-12))).sum() / math.log(count)
    return float(together - snapshot.entropy.mean())


def _class_stability(snapshot: Snapshot) -> float:
    """Over classes of at least a thousandth of the area."""
    labels, stable = snapshot.all_labels, snapshot.all_stable
    areas = class_counts(labels, len(snapshot.classes))
    kept = class_counts(labels[stable], len(snapshot.classes))
    shown = areas >= max(1e-3 * labels.size, 1)
    return float((kept[shown] / areas[shown]).mean()) if shown.any() else 0.0


def _without_nan(content: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in content.items()
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
