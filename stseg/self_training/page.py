"""A page to look at pseudo-labels before and between rounds of training.

One HTML file that holds its pictures and needs no network, and a PNG sheet of the same images.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from stseg.render import Figure, render_page
from stseg.self_training.page_counts import count_classes
from stseg.self_training.page_pictures import ReportEntry, SheetRow, draw_panels, draw_sheet
from stseg.self_training.pseudo_label import ClassRecord
from stseg.structures import Vocabulary
from stseg.utils import write_atomically

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Card:
    """One image of the page.

    Attributes:
        name: file name.
        panels: in the order to show.
        classes: of the image.
        size: pixels of the maps that the records count.
        coverage: share of the pixels that carry a label, in [0, 1].
    """

    name: str
    panels: Sequence[Figure]
    classes: Sequence[ClassRecord]
    size: int
    coverage: float

    @property
    def records(self) -> list[ClassRecord]:
        """Of the classes, in the order to show."""
        # The largest first, accepted or not: that is what one looks for in the pictures.
        return sorted(self.classes, key=lambda r: -max(r.refined_pixels, r.initial_pixels))


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
    cards: list[_Card] = []
    rows: list[SheetRow] = []
    for entry in entries:
        panels = draw_panels(entry, before_caption)
        cards.append(_card(entry, panels))
        rows.append(_sheet_row(entry, panels))
    counted = [card.classes for card in cards] if records is None else records
    counts, images = count_classes(counted, len(vocabulary))
    page = render_page(
        "self_training.html",
        title=title,
        summary=summary,
        verdict=verdict,
        evidence=evidence,
        images=images,
        found=[count for count in counts if count.found],
        absent=[vocabulary.names[count.class_id] for count in counts if not count.found],
        vocabulary=vocabulary,
        remarks=remarks or {},
        cards=cards,
    )
    sheet = path.with_suffix(".png")
    write_atomically(path, page)
    write_atomically(sheet, draw_sheet(rows))
    logger.info("Look at %s (pictures of %d images)", path, len(rows))
    return [path, sheet]


def _card(entry: ReportEntry, panels: Sequence[Figure]) -> _Card:
    label = entry.label
    return _Card(entry.name, panels, label.classes, max(label.label_map.size, 1), label.coverage)


def _sheet_row(entry: ReportEntry, panels: Sequence[Figure]) -> SheetRow:
    size = max(entry.label.label_map.size, 1)
    accepted = sorted(entry.label.classes, key=lambda record: -record.refined_pixels)
    classes = [(r.class_id, r.name, r.refined_pixels / size) for r in accepted if r.accepted]
    return SheetRow(entry.name, panels, classes)
