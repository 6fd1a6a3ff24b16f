from .colours import UNKNOWN_COLOUR, class_colours
from .html import Figure, render_page
from .label_files import encode_labels, label_encoding, save_segmentation
from .overlay import area_shares, draw_legend, draw_overlay, label_font, paint_labels
from .pixels import image_bytes, labels_at_size

__all__ = [
    "UNKNOWN_COLOUR",
    "Figure",
    "area_shares",
    "class_colours",
    "draw_legend",
    "draw_overlay",
    "encode_labels",
    "image_bytes",
    "label_encoding",
    "label_font",
    "labels_at_size",
    "paint_labels",
    "render_page",
    "save_segmentation",
]
