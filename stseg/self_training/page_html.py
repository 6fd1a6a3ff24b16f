"""The parts of a report page as HTML. Every name and text from outside is escaped here."""

from collections.abc import Mapping, Sequence
from html import escape

from stseg.render import class_name, figure, fold, seen_mark, table
from stseg.self_training.page_counts import ClassCount
from stseg.self_training.page_pictures import Panel
from stseg.self_training.pseudo_label import ClassRecord
from stseg.structures import Vocabulary

_OPEN_CLASSES = 30  # rows of the table of classes before the fold
_OPEN_RECORDS = 8  # likewise of the table of an image
_REASONS = 2


def verdict_card(verdict: str, evidence: Sequence[Sequence[str]]) -> str:
    """The guard's words and its table, whose first row is the head."""
    if not verdict and not evidence:
        return ""
    cells = ""
    if evidence:
        cells = table(evidence[0], [[escape(cell) for cell in row] for row in evidence[1:]])
    words = f"<p>{escape(verdict)}</p>" if verdict else ""
    return f'<div class="card verdict">{words}{cells}</div>'


def class_table(
    counts: Sequence[ClassCount], images: int, vocabulary: Vocabulary, remarks: Mapping[int, str]
) -> str:
    """What became of each class over all images, folded where long.

    Args:
        counts: in the order to show.
        images: number of images counted.
        vocabulary: names, and seen marks where known.
        remarks: class id to a text for a last column.
    """
    head = ["", "Class", *([""] if vocabulary.seen else [])]
    head += ["# Images found", "# Images accepted", "# Initial pixels", "# Refined pixels"]
    head += ["# Best score", "Why not in the others", *(["Remark"] if remarks else [])]
    found = [count for count in counts if count.found]
    rows = [_class_row(count, vocabulary, remarks) for count in found]
    absent = [vocabulary.names[count.class_id] for count in counts if not count.found]
    over = f"Over {images} image{'s' if images != 1 else ''}. Tick a class to leave it out."
    parts = [f'<p class="faint">{over}</p>']
    parts.append(table(head, rows[:_OPEN_CLASSES]) if rows else "<p>No class was found.</p>")
    if rows[_OPEN_CLASSES:]:
        rest = table(head, rows[_OPEN_CLASSES:])
        parts.append(fold(_more(len(rows) - _OPEN_CLASSES), rest))
    if absent:
        names = f'<p class="faint">{escape(", ".join(absent))}</p>'
        parts.append(fold(f"Found in no image: {len(absent)} of {len(counts)} classes", names))
    return f'<div class="card">{"".join(parts)}</div>'


def image_card(name: str, panels: Sequence[Panel], records: Sequence[ClassRecord], size: int,
               coverage: float) -> str:  # fmt: skip
    """One image: pictures, and what became of each class in it.

    Args:
        name: file name.
        panels: in the order to show.
        records: of the image.
        size: pixels of the maps that the records count.
        coverage: share of the pixels that carry a label, in [0, 1].
    """
    figures = "".join(figure(p.jpeg, p.width, p.height, p.caption) for p in panels)
    # The largest first, accepted or not: that is what one looks for in the pictures.
    ordered = sorted(records, key=lambda r: -max(r.refined_pixels, r.initial_pixels))
    rows = [_record_row(record, size) for record in ordered]
    head = ["Class", "# Score", "# Initial share", "# Refined share", "# Predicted IoU", "Outcome"]
    shown = table(head, rows[:_OPEN_RECORDS]) if rows else "<p>No class was found.</p>"
    if rows[_OPEN_RECORDS:]:
        rest = table(head, rows[_OPEN_RECORDS:])
        gated = sum(not record.accepted for record in ordered[_OPEN_RECORDS:])
        shown += fold(f"{_more(len(rows) - _OPEN_RECORDS)}, {gated} of them gated out", rest)
    return (
        f'<article class="card"><div class="head"><h3>{escape(name)}</h3>'
        f'<span class="faint">{100 * coverage:.0f} % labelled &nbsp; '
        f"{_tick('image', name, 'leave this image out')}</span></div>"
        f'<div class="panels">{figures}</div>{shown}</article>'
    )


def _class_row(count: ClassCount, vocabulary: Vocabulary, remarks: Mapping[int, str]) -> list[str]:
    name = vocabulary.names[count.class_id]
    row = [_tick("class", name, ""), class_name(count.class_id, name)]
    if vocabulary.seen:
        row.append(seen_mark(vocabulary.seen[count.class_id]))
    row += [f"{count.found:,}", f"{count.accepted:,}"]
    row += [f"{count.initial_pixels:,}", f"{count.refined_pixels:,}", f"{count.best_score:.2f}"]
    reasons = [
        f"{reason}" + (f" and {n - 1} alike" if n > 1 else "")
        for reason, n in count.reasons.most_common(_REASONS)
    ]
    hidden = len(count.reasons) - len(reasons)
    row.append(escape("; ".join(reasons) + (f"; and {hidden} more" if hidden else "")))
    return row + ([escape(remarks.get(count.class_id, ""))] if remarks else [])


def _record_row(record: ClassRecord, size: int) -> list[str]:
    iou = "" if record.predicted_iou is None else f"{record.predicted_iou:.2f}"
    outcome = '<span class="good">accepted</span>'
    if not record.accepted:
        outcome = f'<span class="bad">gated out</span>: {escape(record.reason)}'
    return [
        class_name(record.class_id, record.name),
        f"{record.score:.2f}",
        f"{100 * record.initial_pixels / size:.1f} %",
        f"{100 * record.refined_pixels / size:.1f} %",
        iou,
        outcome,
    ]


def _tick(kind: str, name: str, text: str) -> str:
    """A box whose tick puts a line into the veto file; none for a name no line can hold."""
    if not name.isprintable() or name != name.strip():
        return ""
    title = f"leave out the {kind} {name}"
    return (
        f'<label class="tick" title="{escape(title)}"><input type="checkbox" '
        f'data-veto="{escape(f"{kind}: {name}")}" autocomplete="off">{escape(text)}</label>'
    )


def _more(count: int) -> str:
    return f"{count} more class{'es' if count != 1 else ''}"
