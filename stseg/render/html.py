"""Self-contained HTML pages, from the templates in assets/report.

Templates escape all that they show, so text may come from anywhere; Python holds no HTML.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stseg.render.colours import hex_colour
from stseg.render.pixels import image_bytes

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parents[1] / "assets" / "report"


@dataclass(frozen=True)
class Figure:
    """A picture to show, with its caption; width and height in pixels, the bytes a JPEG file's."""

    caption: str
    width: int
    height: int
    jpeg: bytes

    @classmethod
    def of(cls, caption: str, pixels: np.ndarray, quality: int) -> Figure:
        """The figure of (H, W, 3) uint8 RGB."""
        jpeg = image_bytes(pixels, "JPEG", quality=quality)
        return cls(caption, pixels.shape[1], pixels.shape[0], jpeg)


def render_page(template: str, **values: Any) -> bytes:
    """A page about some values.

    Args:
        template: file in assets/report.
        **values: what the template names: text, numbers, functions that put numbers into words,
            and dataclasses and lists of all these.

    Returns:
        The file's bytes.

    Raises:
        ImportError: if jinja2 is not installed.
        jinja2.UndefinedError: if the template names what is not there.
    """
    page = environment().get_template(template).render(values)
    # File names need not be valid Unicode.
    return page.encode("utf-8", errors="xmlcharrefreplace")


@cache
def environment() -> Environment:
    """What reads the templates.

    Raises:
        ImportError: if jinja2 is not installed.
    """
    # Here, for pages are the only use: scores and Markdown do without.
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise ImportError(
            "HTML page: expected the package jinja2, got none. Install it by pip install jinja2."
        ) from error

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"colour": hex_colour, "data_url": _data_url}
    return made


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
