"""The text of a report, as rows for tables of any format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stseg.evaluation.results import Result

UNDEFINED = "undefined"
_HASH_CHARACTERS = 12
_CONFUSIONS = 15  # the costliest


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction in per cent, or "undefined"."""
    return UNDEFINED if math.isnan(fraction) else f"{100 * fraction:.{digits}f}"


@dataclass(frozen=True)
class ClassLine:
    """A class in a report.

    Attributes:
        class_id: its id.
        name: its name.
        iou: fraction, NaN where the class is absent from the labels.
        cells: recall, precision, labelled pixels and, where counted, boundary IoU, as text.
        seen: None where not known.
        taken_for: the class that it is mostly mistaken for, with the share, or "".
    """

    class_id: int
    name: str
    iou: float
    cells: tuple[str, ...]
    seen: bool | None
    taken_for: str


def class_head(result: Result) -> tuple[str, ...]:
    """What `ClassLine.cells` hold."""
    extra = ("Boundary IoU",) if _has_boundary(result) else ()
    return ("Recall", "Precision", "Labelled pixels", *extra)


def class_lines(result: Result) -> list[ClassLine]:
    """The classes in the labels, the best first."""
    lines = [
        ClassLine(
            row["id"],
            row["name"],
            row["iou"],
            _class_cells(row, _has_boundary(result)),
            row.get("seen"),
            _taken_for(row, result),
        )
        for row in result.classes
        if row["truth"]
    ]
    return sorted(lines, key=lambda line: -line.iou)


def _taken_for(row: dict[str, Any], result: Result) -> str:
    if not row["taken_pixels"]:
        return ""
    return f"{result.names[row['taken_for']]} ({percent(row['taken_pixels'] / row['truth'], 0)} %)"


def _has_boundary(result: Result) -> bool:
    return any("boundary_iou" in row for row in result.classes)


def _class_cells(row: dict[str, Any], with_boundary: bool) -> tuple[str, ...]:
    extra = (percent(row["boundary_iou"]),) if with_boundary else ()
    return (percent(row["accuracy"]), percent(row["precision"]), f"{row['truth']:,}", *extra)


def absent_classes(result: Result) -> tuple[list[str], list[str]]:
    """Names absent from the labels: those predicted all the same, with pixels, and the others."""
    absent = [row for row in result.classes if not row["truth"]]
    predicted = sorted((r for r in absent if r["predicted"]), key=lambda row: -row["predicted"])
    return (
        [f"{row['name']} ({row['predicted']:,} pixels)" for row in predicted],
        [row["name"] for row in absent if not row["predicted"]],
    )


def figure_rows(result: Result) -> list[tuple[str, ...]]:
    """Name, per cent, interval (only if there is one at all) and meaning of every figure."""
    intervals = result.bootstrap.get("intervals")
    rows = []
    for name, value in result.figures.items():
        interval = (interval_text(intervals.get(name)),) if intervals else ()
        rows.append((name, percent(value, 2), *interval, result.definitions[name]))
    return rows


def figure_head(result: Result) -> tuple[str, ...]:
    """Heads of `figure_rows`."""
    level = result.bootstrap.get("level", 0.0)
    interval = (f"{percent(level, 0)} % interval",) if result.bootstrap.get("intervals") else ()
    return ("Figure", "Per cent", *interval, "Meaning")


def interval_text(interval: Sequence[float | None] | None) -> str:
    """Such as "41.02 to 45.30"."""
    if interval is None or None in interval:
        return ""
    low, high = (float(end) for end in interval if end is not None)
    return "" if math.isnan(low) else f"{percent(low, 2)} to {percent(high, 2)}"


def confusion_rows(result: Result) -> list[tuple[int, int, str, str]]:
    """True id, predicted id, pixels, and share of the true class in per cent."""
    return [
        (row["true"], row["predicted"], f"{row['pixels']:,}", percent(row["share"]))
        for row in result.confusions[:_CONFUSIONS]
    ]


def worst_images(result: Result, most: int) -> list[dict[str, Any]]:
    """Rows of the images with the lowest mean IoU; images without a scored pixel are left out."""
    scored = [row for row in result.images if not math.isnan(row["mIoU_gt"])]
    return sorted(scored, key=lambda row: (row["mIoU_gt"], row["pACC"], row["name"]))[:most]


def origin_rows(result: Result) -> list[tuple[str, str]]:
    """Protocol and provenance, hashes cut to what tells them apart."""
    rows = asdict(result.protocol) | result.provenance
    versions = rows.pop("versions", {})
    rows |= {f"version of {name}": value for name, value in versions.items()}
    return [(key.replace("_", " "), _short(value)) for key, value in rows.items()]


def _short(value: Any) -> str:
    if value is None:
        return "not stated"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    text = str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:_HASH_CHARACTERS] if is_hash else text
