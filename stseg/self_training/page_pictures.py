"""The pictures of a report on pseudo-labels: panels of one image, and a sheet of many."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from stseg.render import Figure, class_colours, label_font, paint_labels
from stseg.self_training.pseudo_label import PseudoLabel, labels_at_size
from stseg.structures import IGNORE_LABEL

#: Longest side of a panel in pixels.
PANEL_SIDE = 480
_SHEET_IMAGES = 24
_SHEET_PANEL = (300, 225)  # width, height
_SHEET_NAMES = 12
_LINE, _GAP = 22, 12
_BACKGROUND, _INK, _FAINT = (255, 255, 255), (33, 37, 41), (108, 117, 125)


@dataclass(frozen=True)
class ReportEntry:
    """One image to show.

    Attributes:
        name: file name.
        image: (H, W, 3) uint8 RGB.
        label: its pseudo-label; the maps may have another size.
        before: (h, w) class ids to compare with, IGNORE_LABEL where unknown: the pseudo-label of
            the round before, or the answer of the starting model; None for no such panel.
    """

    name: str
    image: np.ndarray
    label: PseudoLabel
    before: np.ndarray | None = None


def draw_panels(entry: ReportEntry, before_caption: str) -> list[Figure]:
    """Photo, what was before (where given), initial mask (where kept) and refined mask."""
    photo = _photo(entry.image)
    maps = {
        before_caption: entry.before,
        "Initial mask": entry.label.initial,
        "Refined mask": entry.label.label_map,
    }
    painted = {k: _painted(photo, labels) for k, labels in maps.items() if labels is not None}
    pictures = {"Photo": photo, **painted}
    return [Figure.of(caption, pixels, quality=82) for caption, pixels in pictures.items()]


@dataclass(frozen=True)
class SheetRow:
    """One image of the sheet: file name, panels, and (class id, name, share of the pixels)."""

    name: str
    panels: Sequence[Figure]
    classes: Sequence[tuple[int, str, float]]


def draw_sheet(rows: Sequence[SheetRow]) -> bytes:
    """One PNG with the panels of up to 24 images, spread evenly, and their colours."""
    rows = [rows[i] for i in spread_evenly(len(rows), _SHEET_IMAGES)]
    panel_width, panel_height = _SHEET_PANEL
    columns = max((len(row.panels) for row in rows), default=1)
    row_height = panel_height + 3 * _LINE
    size = (columns * (panel_width + _GAP) + _GAP, max(1, len(rows)) * row_height + _GAP)
    sheet = Image.new("RGB", size, _BACKGROUND)
    for k, row in enumerate(rows):
        _draw_row(sheet, row, k * row_height + _GAP)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def spread_evenly(size: int, count: int) -> list[int]:
    """At most `count` indices below `size`, in order and evenly apart."""
    return sorted({k * size // count for k in range(count)}) if size else []


def _draw_row(sheet: Image.Image, row: SheetRow, top: int) -> None:
    """Name, captions, panels, and a line of swatches."""
    draw, font = ImageDraw.Draw(sheet), label_font(14)
    panel_width, panel_height = _SHEET_PANEL
    name = row.name if len(row.name) <= 40 else row.name[:39] + "…"
    for k, panel in enumerate(row.panels):
        left = _GAP + k * (panel_width + _GAP)
        caption = f"{name}  ({panel.caption.lower()})" if k == 0 else panel.caption
        draw.text((left, top), caption, _INK if k == 0 else _FAINT, font)
        picture = Image.open(io.BytesIO(panel.jpeg))
        picture.thumbnail(_SHEET_PANEL, Image.Resampling.LANCZOS)
        sheet.paste(picture, (left, top + _LINE))
    left, middle = _GAP, top + _LINE + panel_height + _LINE // 2
    for class_id, class_name, share in row.classes[:_SHEET_NAMES]:
        text = f"{class_name} {100 * share:.0f} %"
        width = int(font.getlength(text)) + 40
        if left + width > sheet.width:
            break
        colour = tuple(class_colours([class_id])[0].tolist())
        draw.rectangle((left, middle - 7, left + 14, middle + 7), fill=colour)
        draw.text((left + 20, middle), text, _INK, font, anchor="lm")
        left += width


def _photo(image: np.ndarray) -> np.ndarray:
    """At most PANEL_SIDE pixels; small images are enlarged by a whole factor."""
    height, width = image.shape[:2]
    factor = PANEL_SIDE / max(height, width)
    if factor >= 2:
        whole = int(factor)
        return image.repeat(whole, axis=0).repeat(whole, axis=1)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _painted(photo: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Class colours over the photo; hatched where there is no label, whatever the photo shows."""
    labels = labels_at_size(labels, photo.shape[:2])
    picture = paint_labels(photo, labels)
    rows, columns = np.indices(labels.shape)
    hatched = (labels == IGNORE_LABEL) & ((rows + columns) % 12 < 2)
    picture[hatched] = 225
    return picture
