"""What the commands print."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stseg.evaluation.bootstrap import paired_test
from stseg.evaluation.report_rows import (
    absent_classes,
    class_lines,
    figure_head,
    figure_rows,
    percent,
)
from stseg.evaluation.results import Result, field_of
from stseg.utils import some_of

_SHOWN = 5
_SEEN = {True: "seen", False: "unseen", None: ""}


def summary_text(result: Result) -> str:
    """The figures of a result, its weakest classes and costliest confusions."""
    protocol, names = result.protocol, result.names
    lines = class_lines(result)
    ignored = ", ".join(map(str, protocol.ignore)) or "none"
    text = [
        f"{protocol.num_images} images, {protocol.num_classes} classes of which {len(lines)} are "
        f"in the labels, ignored ids: {ignored}",
        "",
        *columns([figure_head(result), *figure_rows(result)], right=(1,)),
        "",
    ]
    weakest = [f"{line.name} {percent(line.iou)}" for line in reversed(lines[-_SHOWN:])]
    text.append(f"Weakest classes: {', '.join(weakest) or 'none'}")
    predicted, _ = absent_classes(result)
    if predicted:
        text.append(f"Predicted, but absent from the labels: {some_of(predicted)}")
    confusions = [
        f"{names[row['true']]} as {names[row['predicted']]} ({percent(row['share'])} % of it)"
        for row in result.confusions
    ]
    text.append(f"Costliest confusions: {some_of(confusions[:_SHOWN]) or 'none'}")
    return "\n".join(text)


def class_table(result: Result, limit: int = 30) -> str:
    """The classes in the labels, the best first.

    Args:
        result: with figures per class.
        limit: rows; where there are more classes, the best third of it and the worst.
    """
    lines, more = class_lines(result), 0
    if len(lines) > limit:
        best, worst = lines[: limit // 3], lines[limit // 3 - limit :]
        lines, more = [*best, *worst], len(lines) - limit
    rows = [
        (line.name, percent(line.iou), *line.cells[:2], _SEEN[line.seen], line.taken_for)
        for line in lines
    ]
    head = ("class", "IoU", "recall", "precision", "", "mostly taken for")
    text = columns([head, *rows], right=(1, 2, 3))
    if more:
        text.insert(1 + limit // 3, f"... {more} more classes ...")
    return "\n".join(text)


def unlike_text(a: Result, b: Result, differing: Sequence[str], names: tuple[str, str]) -> str:
    """Why two results cannot be compared.

    Args:
        a: one result.
        b: the other.
        differing: fields, of `comparable`.
        names: what to call them.
    """
    rows = [("field", *names)]
    rows += [(name, str(field_of(a, name)), str(field_of(b, name))) for name in differing]
    return "\n".join(
        [
            f"Results: expected like protocols, got different {', '.join(differing)}. "
            "Score both anew in one way.",
            *columns(rows),
        ]
    )


def compare_text(a: Result, b: Result, names: tuple[str, str]) -> str:
    """Two like results beside each other, and what changed most."""
    rows = [("", *names, "change")]
    for name in (name for name in a.figures if name in b.figures):
        before, after = a.figures[name], b.figures[name]
        rows.append((name, percent(before, 2), percent(after, 2), signed(after - before)))
    changes = [
        (after["iou"] - before["iou"], before["name"])
        for before, after in zip(a.classes, b.classes, strict=True)
    ]
    changes = sorted(change for change in changes if not math.isnan(change[0]) and change[0])
    gained = [f"{name} {signed(change)}" for change, name in reversed(changes) if change > 0]
    lost = [f"{name} {signed(change)}" for change, name in changes if change < 0]
    return "\n".join(
        [
            *columns(rows, right=(1, 2, 3)),
            "",
            _paired_text(a, b),
            f"Classes that gained: {some_of(gained) or 'none'}",
            f"Classes that lost: {some_of(lost) or 'none'}",
        ]
    )


def _paired_text(a: Result, b: Result) -> str:
    before, after = a.bootstrap, b.bootstrap
    if not before or not after:
        return "Not tested: score both with --bootstrap to learn whether the change is chance."
    setting = [(part["seed"], len(part["means"]["mIoU_gt"]) - 1) for part in (before, after)]
    if setting[0] != setting[1]:
        return f"Not tested: seed and replicates differ, {setting[0]} and {setting[1]}."
    first, second = (np.array(x["means"]["mIoU_gt"], dtype=float) for x in (after, before))
    test = paired_test(first, second, before["level"])
    chance = f"p = {test.p_value:.3g}"
    if test.p_value <= test.floor < 1:
        count = setting[0][1]
        chance += f", the floor of {count} replicates: p < {test.floor:.3g}"
    return (
        f"Paired bootstrap over images: mIoU_gt {signed(test.difference)}, "
        f"{percent(before['level'], 0)} % interval {signed(test.low)} to {signed(test.high)}, "
        f"{chance}"
    )


def signed(fraction: float) -> str:
    """A difference in percentage points, with its sign."""
    return percent(fraction) if math.isnan(fraction) else f"{100 * fraction:+.2f}"


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines of equally wide columns.

    Args:
        rows: of texts.
        right: columns that hold numbers.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
