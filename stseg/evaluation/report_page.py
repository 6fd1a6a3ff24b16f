"""A report as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from stseg.evaluation.report_pictures import ImageCard
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
from stseg.render import render_page

_TILES = ("mIoU_gt", "mIoU_union", "seen_mIoU", "unseen_mIoU", "harmonic_mIoU", "pACC")


def html_page(result: Result, title: str, cards: Sequence[ImageCard], note: str) -> bytes:
    """The file's bytes.

    Args:
        result: what to show.
        title: heading.
        cards: images to show.
        note: above the images.

    Raises:
        ImportError: if jinja2 is not installed.
    """
    shown = [(n, percent(result.figures[n], 2)) for n in _TILES if n in result.figures]
    name, number, *rest = figure_head(result)
    predicted, silent = absent_classes(result)
    return render_page(
        "evaluation.html",
        title=title,
        summary=[*shown, ("images", result.protocol.num_images)],
        figure_head=[name, f"# {number}", *rest],
        figures=figure_rows(result),
        class_head=[f"# {cell}" for cell in class_head(result)],
        classes=class_lines(result),
        predicted=predicted,
        silent=silent,
        confusions=confusion_rows(result),
        names=result.names,
        note=note,
        cards=cards,
        origin=origin_rows(result),
        percent=percent,
    )
