from .colours import UNKNOWN_COLOUR, class_colours
from .html import class_name, figure, fill_page, fold, seen_mark, table, tiles
from .label_files import encode_labels, label_encoding, save_segmentation
from .overlay import area_shares, draw_legend, draw_overlay, label_font, paint_labels

__all__ = [
    "UNKNOWN_COLOUR",
    "area_shares",
    "class_colours",
    "class_name",
    "draw_legend",
    "draw_overlay",
    "encode_labels",
    "figure",
    "fill_page",
    "fold",
    "label_encoding",
    "label_font",
    "paint_labels",
    "save_segmentation",
    "seen_mark",
    "table",
    "tiles",
]
