"""A page to look at pseudo-labels before and between rounds of training.

One HTML file that holds its pictures and needs no network, and a PNG sheet of the same images.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

from stseg.render import class_colours, render_page
from stseg.self_training.corrections import NOTHING
from stseg.self_training.page_advice import Advice
from stseg.self_training.page_counts import ClassCount, by_frequency, count_classes
from stseg.self_training.page_pictures import REFINED, Card, ReportEntry, draw_sheet
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
    counted: tuple[Sequence[ClassCount], int] | None = None,
    verdict: str = "",
    evidence: Sequence[Sequence[str]] = (),
    remarks: Mapping[int, str] | None = None,
    before_caption: str = "Before",
    advice: Advice | None = None,
    veto_text: str = "",
) -> list[Path]:
    """Write the page and, beside it with the suffix .png, the sheet.

    Args:
        path: of the HTML file; its folder is made if missing.
        entries: the images to show, taken one at a time, so that a generator may read them.
        title: heading of the page.
        vocabulary: names of the class ids, and seen marks where known.
        summary: figures at the top: (what, value).
        counted: counts per class of the whole round, and its number of images; by default those
            of `entries`.
        verdict: the guard's words.
        evidence: the guard's table, as rows of text; the first is the head.
        remarks: class id to a text beside the class.
        before_caption: of the panel that shows `ReportEntry.before`.
        advice: what to do, shown first.
        veto_text: the veto file so far, which the page's ticks and corrections go on from.

    Returns:
        The files written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cards = [Card.of(entry, before_caption, vocabulary.names) for entry in entries]
    counts, images = counted or count_classes([c.classes for c in cards], len(vocabulary))
    page = render_page(
        "self_training.html",
        title=title,
        summary=summary,
        verdict=verdict,
        evidence=evidence,
        images=images,
        found=[count for count in by_frequency(counts) if count.found or count.accepted],
        absent=[
            vocabulary.names[count.class_id]
            for count in counts
            if not (count.found or count.accepted)
        ],
        vocabulary=vocabulary,
        colours=class_colours(vocabulary.names),
        remarks=remarks or {},
        cards=cards,
        refined=REFINED,
        nothing=NOTHING,
        advice=advice,
        veto_text=veto_text,
    )
    sheet = path.with_suffix(".png")
    write_atomically(path, page)
    write_atomically(sheet, draw_sheet(cards, vocabulary.names))
    logger.info("Look at %s (pictures of %d images)", path, len(cards))
    return [path, sheet]
