"""Parts of self-contained HTML pages. NumPy and the standard library only.

Arguments named `*html` and the cells of tables are HTML already; everything else is escaped here.
"""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from stseg.render.colours import class_colours

_ASSETS = Path(__file__).parents[1] / "assets" / "report"


def fill_page(template: str, *, title: str, scripts: bool = False, **parts: str) -> bytes:
    """A shipped page with the head that all have, and `parts`, put in.

    Args:
        template: file in assets/report.
        title: of the page, as HTML.
        scripts: whether the page may run its own.
        **parts: HTML for the places of the template.

    Returns:
        The file's bytes.
    """
    head = _read("head.html").substitute(
        title=title,
        scripts="; script-src 'unsafe-inline'" if scripts else "",
        style=(_ASSETS / "style.css").read_text(encoding="utf-8").rstrip(),
    )
    page = _read(template).substitute(head=head.rstrip(), title=title, **parts)
    # File names need not be valid Unicode.
    return page.encode("utf-8", errors="xmlcharrefreplace")


def _read(template: str) -> Template:
    return Template((_ASSETS / template).read_text(encoding="utf-8"))


def tiles(summary: Sequence[tuple[str, str]]) -> str:
    """A row of figures: (what, value)."""
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for what, value in summary
    )
    return f'<div class="tiles">{cells}</div>' if cells else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of HTML; a column whose head starts with "# " holds numbers."""
    kinds = [' class="number"' if cell.startswith("# ") else "" for cell in head]
    heads = (escape(cell.removeprefix("# ")) for cell in head)
    first = "".join(f"<th{k}>{cell}</th>" for k, cell in zip(kinds, heads, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{k}>{cell}</td>" for k, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def fold(title: str, content_html: str) -> str:
    """Content behind a line that opens it."""
    return f"<details><summary>{escape(title)}</summary>{content_html}</details>"


def figure(jpeg: bytes, width: int, height: int, caption: str) -> str:
    """A picture inside the page, with its caption."""
    data = base64.b64encode(jpeg).decode("ascii")
    text = escape(caption)
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" '
        f'alt="{text}"><figcaption>{text}</figcaption></figure>'
    )


def class_name(class_id: int, name: str) -> str:
    """The name behind a swatch of its colour."""
    red, green, blue = class_colours([class_id])[0].tolist()
    colour = f"background:#{red:02x}{green:02x}{blue:02x}"
    return f'<span class="swatch" style="{colour}"></span>{escape(name)}'


def seen_mark(seen: bool) -> str:
    """A small "seen" or "unseen"."""
    mark = "seen" if seen else "unseen"
    return f'<span class="mark {mark}">{mark}</span>'
