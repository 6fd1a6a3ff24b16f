"""A page to look at pseudo-labels before and between rounds of training.

One HTML file that holds its pictures and needs no network, and a PNG sheet of the same images.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from os import PathLike
from pathlib import Path

from stseg.render import fill_page, tiles
from stseg.self_training import page_html as report_html
from stseg.self_training.page_counts import count_classes
from stseg.self_training.page_pictures import Panel, ReportEntry, SheetRow, draw_panels, draw_sheet
from stseg.self_training.pseudo_label import ClassRecord
from stseg.structures import Vocabulary
from stseg.utils import write_atomically

logger = logging.getLogger(__name__)


def write_page(
    path: str | PathLike[str],
    entries: Iterable[ReportEntry],
    *,
    title: str,
    vocabulary: Vocabulary,
    summary: Sequence[tuple[str, str]] = (),
    records: Iterable[Sequence[ClassRecord]] | None = None,
    verdict: str = "",
    evidence: Sequence[Sequence[str]] = (),
    remarks: Mapping[int, str] | None = None,
    before_caption: str = "Before",
) -> list[Path]:
    """Write the page and, beside it with the suffix .png, the sheet.

    Args:
        path: of the HTML file; its folder is made if missing.
        entries: the images to show, taken one at a time, so that a generator may read them.
        title: heading of the page.
        vocabulary: names of the class ids, and seen marks where known.
        summary: figures at the top: (what, value).
        records: per image of the whole round, for the counts per class; by default those of
            `entries`.
        verdict: the guard's words.
        evidence: the guard's table, as rows of text; the first is the head.
        remarks: class id to a text beside the class.
        before_caption: of the panel that shows `ReportEntry.before`.

    Returns:
        The files written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cards: list[str] = []
    rows: list[SheetRow] = []
    shown: list[Sequence[ClassRecord]] = []
    for entry in entries:
        panels = draw_panels(entry, before_caption)
        cards.append(_card(entry, panels))
        rows.append(_sheet_row(entry, panels))
        shown.append(entry.label.classes)
    counts, images = count_classes(shown if records is None else records, len(vocabulary))
    page = fill_page(
        "page.html",
        title=escape(title),
        scripts=True,
        tiles=tiles(summary),
        verdict=report_html.verdict_card(verdict, evidence),
        classes=report_html.class_table(counts, images, vocabulary, remarks or {}),
        images="\n".join(cards) or "<p>No image to show.</p>",
    )
    sheet = path.with_suffix(".png")
    write_atomically(path, page)
    write_atomically(sheet, draw_sheet(rows))
    logger.info("Look at %s (pictures of %d images)", path, len(rows))
    return [path, sheet]


def _card(entry: ReportEntry, panels: Sequence[Panel]) -> str:
    label = entry.label
    return report_html.image_card(
        entry.name, panels, label.classes, max(label.label_map.size, 1), label.coverage
    )


def _sheet_row(entry: ReportEntry, panels: Sequence[Panel]) -> SheetRow:
    size = max(entry.label.label_map.size, 1)
    accepted = sorted(entry.label.classes, key=lambda record: -record.refined_pixels)
    classes = [(r.class_id, r.name, r.refined_pixels / size) for r in accepted if r.accepted]
    return SheetRow(entry.name, panels, classes)
