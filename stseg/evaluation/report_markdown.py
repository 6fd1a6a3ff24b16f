"""A report as Markdown, with pictures in files beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from stseg.evaluation.report_pictures import ImageCard, Picture, join_pictures
from stseg.evaluation.report_rows import (
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
from stseg.utils import some_of

_BAR = 20  # characters of a full bar
_EIGHTHS = " ▏▎▍▌▋▊▉"
_CLASSES = 6  # of an image


def markdown_page(
    result: Result, title: str, cards: Sequence[ImageCard], note: str, folder: str
) -> tuple[bytes, dict[str, bytes]]:
    """The page, and the pictures it shows.

    Args:
        result: what to show.
        title: heading.
        cards: images to show.
        note: above the images.
        folder: name of the folder that the pictures will lie in, beside the page.

    Returns:
        The page's bytes, and file name to bytes of the pictures.
    """
    strips = {f"{k:03d}.jpg": join_pictures(card.pictures) for k, card in enumerate(cards, start=1)}
    parts = [
        f"# {plain(title)}",
        "<!-- Made by stseg. -->",
        "## Figures",
        table(figure_head(result), figure_rows(result), right=(1,)),
        "## Classes",
        _classes(result),
        "## Confusions",
        _confusions(result),
        "## Worst images",
        plain(note),
        *(
            _card(card, strip, result, f"{quote(folder)}/{name}")
            for card, (name, strip) in zip(cards, strips.items(), strict=True)
        ),
        "## Protocol and origin",
        table(["What", "Value"], origin_rows(result)),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return text.encode("utf-8", errors="replace"), {k: s.jpeg for k, s in strips.items()}


def plain(text: str) -> str:
    """Text in which Markdown sees no marks."""
    escaped = re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", text)
    return " ".join(escaped.split())


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table of plain text; columns in `right` hold numbers."""
    rule = ["---:" if k in right else "---" for k in range(len(head))]
    lines = [[plain(cell) for cell in head], rule]
    lines += [[plain(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bar(fraction: float) -> str:
    """Blocks, 20 of them for 1."""
    eighths = round(8 * _BAR * min(max(fraction, 0.0), 1.0))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _classes(result: Result) -> str:
    extra = class_head(result)
    rows = []
    for line in class_lines(result):
        mark = "" if line.seen is None else "seen" if line.seen else "unseen"
        rows.append(
            (line.name, mark, bar(line.iou), percent(line.iou), *line.cells, line.taken_for)
        )
    head = ("Class", "", "", "IoU", *extra, "Mostly taken for")
    parts = [table(head, rows, right=range(3, 4 + len(extra)))]
    for title, names in zip(
        ("Predicted, but absent from the labels", "Neither in the labels nor predicted"),
        absent_classes(result),
        strict=True,
    ):
        if names:
            parts.append(f"{title} ({len(names)}): {plain(', '.join(names))}")
    return "\n\n".join(parts)


def _confusions(result: Result) -> str:
    rows = [
        (result.names[t], result.names[p], pixels, share)
        for t, p, pixels, share in confusion_rows(result)
    ]
    return table(["Label", "Predicted", "Pixels", "Per cent of the class"], rows, right=(2, 3))


def _card(card: ImageCard, strip: Picture, result: Result, link: str) -> str:
    classes = [f"{result.names[i]} {percent(iou)}" for i, iou, _ in card.classes]
    caption = plain(strip.caption)
    return (
        f"### {plain(card.name)}: mIoU {percent(card.mean_iou)}\n\n"
        f"![{caption}]({link})\n\n{caption}. IoU: {plain(some_of(classes, _CLASSES))}."
    )
