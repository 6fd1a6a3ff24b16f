"""A segmentation as a notebook shows it, and as a window does."""

from __future__ import annotations

import sys
from importlib import import_module

from PIL import Image

from stseg.render.captions import named_overlay
from stseg.render.colours import class_colours
from stseg.render.html import Figure, render_page
from stseg.render.label_files import Answer, describe

_SIDE = 900
_MOST_ROWS = 30


def segmentation_html(segmentation: Answer) -> str:
    """A piece of a page, self-contained: the overlay and a table of the classes found."""
    height, width = segmentation.label_map.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    picture = named_overlay(segmentation.image, segmentation.label_map, segmentation.names, size)
    content = describe(segmentation, "")
    found = [entry for entry in content["classes"] if entry["pixels"]]
    found.sort(key=lambda entry: -entry["pixels"])
    page = render_page(
        "segmentation.html",
        figure=Figure.of("overlay", picture, quality=88),
        colours=class_colours(segmentation.names),
        classes=found[:_MOST_ROWS],
        more=len(found) - _MOST_ROWS,
        unknown_share=content["unknown_share"],
    )
    return page.decode("utf-8")


def show_picture(segmentation: Answer) -> None:
    """Display a segmentation in the notebook that is running, else its overlay in a window."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    # In a terminal IPython has a shell, too, but no kernel, and cannot show pictures.
    if getattr(shell, "kernel", None) is not None:
        import_module("IPython.display").display(segmentation)
        return
    picture = named_overlay(segmentation.image, segmentation.label_map, segmentation.names)
    Image.fromarray(picture).show()
