"""A report as one HTML page. Every name from outside is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from stseg.evaluation.report_pictures import ImageCard
from stseg.evaluation.report_rows import (
    ClassLine,
    absent_classes,
    class_head,
    class_lines,
    confusion_rows,
    figure_head,
    figure_rows,
    origin_rows,
    percent,
)
from stseg.evaluation.results import Result
from stseg.render import class_name, figure, fill_page, fold, seen_mark, table, tiles

_TILES = ("mIoU_gt", "mIoU_union", "seen_mIoU", "unseen_mIoU", "harmonic_mIoU", "pACC")
_OPEN_CLASSES = 60  # rows of the table of classes before the fold
_OPEN_IN_IMAGE = 6  # likewise of the table of an image


def html_page(result: Result, title: str, cards: Sequence[ImageCard], note: str) -> bytes:
    """The file's bytes."""
    figures = [[escape(cell) for cell in row] for row in figure_rows(result)]
    name, number, *rest = figure_head(result)
    origin = [[escape(cell) for cell in row] for row in origin_rows(result)]
    shown = [(n, percent(result.figures[n], 2)) for n in _TILES if n in result.figures]
    images = str(result.protocol.num_images)
    return fill_page(
        "evaluation.html",
        title=escape(title),
        tiles=tiles([*shown, ("images", images)]),
        figures=table([name, f"# {number}", *rest], figures),
        classes=_classes(result),
        confusions=_confusions(result),
        images_note=escape(note),
        images="\n".join(_card(card, result) for card in cards),
        origin=table(["What", "Value"], origin),
    )


def _classes(result: Result) -> str:
    lines = class_lines(result)
    marked = any(line.seen is not None for line in lines)
    head = ["Class", *([""] if marked else []), "", "# IoU"]
    head += [f"# {cell}" for cell in class_head(result)] + ["Mostly taken for"]
    rows = [_class_row(line, marked) for line in lines]
    parts = [table(head, rows[:_OPEN_CLASSES]) if rows else "<p>No class is in the labels.</p>"]
    if rows[_OPEN_CLASSES:]:
        parts.append(fold(f"{len(rows) - _OPEN_CLASSES} more", table(head, rows[_OPEN_CLASSES:])))
    predicted, silent = absent_classes(result)
    if predicted:
        text = f'<p class="faint">{escape(", ".join(predicted))}</p>'
        parts.append(fold(f"Predicted, but absent from the labels: {len(predicted)}", text))
    if silent:
        text = f'<p class="faint">{escape(", ".join(silent))}</p>'
        parts.append(fold(f"Neither in the labels nor predicted: {len(silent)}", text))
    return "".join(parts)


def _class_row(line: ClassLine, marked: bool) -> list[str]:
    kind = ' class="unseen"' if line.seen is False else ""
    row = [class_name(line.class_id, line.name)]
    if marked:
        row.append("" if line.seen is None else seen_mark(line.seen))
    row.append(f'<div class="track"><i{kind} style="width:{100 * line.iou:.1f}%"></i></div>')
    return [*row, percent(line.iou), *line.cells, escape(line.taken_for)]


def _confusions(result: Result) -> str:
    rows = [
        [class_name(t, result.names[t]), class_name(p, result.names[p]), pixels, share]
        for t, p, pixels, share in confusion_rows(result)
    ]
    head = ["Label", "Predicted", "# Pixels", "# Per cent of the class"]
    return table(head, rows) if rows else "<p>None.</p>"


def _card(card: ImageCard, result: Result) -> str:
    figures = "".join(
        figure(p.jpeg, p.pixels.shape[1], p.pixels.shape[0], p.caption) for p in card.pictures
    )
    head = ["Class", "# IoU", "# Per cent of the image"]
    rows = [
        [class_name(i, result.names[i]), percent(iou), percent(share)]
        for i, iou, share in card.classes
    ]
    shown = table(head, rows[:_OPEN_IN_IMAGE])
    if rows[_OPEN_IN_IMAGE:]:
        shown += fold(f"{len(rows) - _OPEN_IN_IMAGE} more", table(head, rows[_OPEN_IN_IMAGE:]))
    return (
        f'<article class="card"><div class="head"><h3>{escape(card.name)}</h3>'
        f'<span class="faint">mIoU {percent(card.mean_iou)}</span></div>'
        f'<div class="panels">{figures}</div>{shown}</article>'
    )
