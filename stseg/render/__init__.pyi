from .captions import named_overlay
from .colours import UNKNOWN_COLOUR, class_colours, hatch, hex_colour, label_colours
from .html import Figure, render_page
from .label_files import (
    SAVED_KINDS,
    check_names,
    describe,
    encode_labels,
    picture_bytes,
    read_segmentation,
    save_segmentation,
    table_bytes,
)
from .label_table import ClassCounts, label_encoding
from .notebook import segmentation_html, show_picture
from .overlay import (
    area_shares,
    check_image,
    draw_legend,
    draw_overlay,
    label_font,
    paint_labels,
)
from .pixels import image_bytes, labels_at_size, open_any_size

__all__ = [
    "SAVED_KINDS",
    "UNKNOWN_COLOUR",
    "ClassCounts",
    "Figure",
    "area_shares",
    "check_image",
    "check_names",
    "class_colours",
    "describe",
    "draw_legend",
    "draw_overlay",
    "encode_labels",
    "hatch",
    "hex_colour",
    "image_bytes",
    "label_colours",
    "label_encoding",
    "label_font",
    "labels_at_size",
    "named_overlay",
    "open_any_size",
    "paint_labels",
    "picture_bytes",
    "read_segmentation",
    "render_page",
    "save_segmentation",
    "segmentation_html",
    "show_picture",
    "table_bytes",
]
