"""The pictures of a report on pseudo-labels: panels of one image, and a sheet of many."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from stseg.data import spread
from stseg.render import (
    Figure,
    class_colours,
    image_bytes,
    label_font,
    labels_at_size,
    paint_labels,
)
from stseg.self_training.page_regions import Region, find_regions_of
from stseg.self_training.pseudo_label import ClassRecord, PseudoLabel

#: Longest side of a panel in pixels.
PANEL_SIDE = 480
#: The panel of the labels to train on, whose regions can be pointed at.
REFINED = "Refined mask"
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
        after: (h, w) class ids likewise: the model's answer after the round.
    """

    name: str
    image: np.ndarray
    label: PseudoLabel
    before: np.ndarray | None = None
    after: np.ndarray | None = None


def draw_panels(entry: ReportEntry, before_caption: str, names: Sequence[str]) -> list[Figure]:
    """In the order in which they came to be, as far as they are there.

    Photo, what was before, initial mask, refined mask, answer after the round. `names` are those of
    the class ids.
    """
    photo = _photo(entry.image)
    maps = {
        before_caption: entry.before,
        "Initial mask": entry.label.initial,
        REFINED: entry.label.label_map,
        "After the round": entry.after,
    }
    painted = {
        k: _painted(photo, labels, names) for k, labels in maps.items() if labels is not None
    }
    pictures = {"Photo": photo, **painted}
    return [Figure.of(caption, pixels, quality=82) for caption, pixels in pictures.items()]


@dataclass(frozen=True)
class Card:
    """One image as page and sheet show it.

    Attributes:
        name: file name.
        panels: in the order to show.
        classes: of the image.
        size: pixels of the maps that the records count.
        coverage: share of the pixels that carry a label, in [0, 1].
        shape: (H, W) of the map that regions are those of.
        regions: of the refined mask, that a person may correct.
    """

    name: str
    panels: Sequence[Figure]
    classes: Sequence[ClassRecord]
    size: int
    coverage: float
    shape: tuple[int, int]
    regions: Sequence[Region]

    @classmethod
    def of(cls, entry: ReportEntry, before_caption: str, names: Sequence[str]) -> "Card":
        """Draw an image; its maps are not kept."""
        label, panels = entry.label, draw_panels(entry, before_caption, names)
        # Every pixel was found to be of some class; large images are labelled at a smaller size.
        size = sum(record.initial_pixels for record in label.classes) or 1
        shape, regions = label.label_map.shape, find_regions_of(label.label_map)
        return cls(entry.name, panels, label.classes, size, label.coverage, shape, regions)

    @property
    def records(self) -> list[ClassRecord]:
        """Of the classes, in the order to show."""
        # The largest first, accepted or not: that is what one looks for in the pictures.
        return sorted(self.classes, key=lambda r: -max(r.refined_pixels, r.initial_pixels))


def draw_sheet(cards: Sequence[Card], names: Sequence[str]) -> bytes:
    """One PNG with the panels of up to 24 images, spread evenly, and their colours.

    `names` are those of the class ids.
    """
    cards = [cards[i] for i in spread(_SHEET_IMAGES, len(cards))]
    panel_width, panel_height = _SHEET_PANEL
    columns = max((len(card.panels) for card in cards), default=1)
    row_height = panel_height + 3 * _LINE
    size = (columns * (panel_width + _GAP) + _GAP, max(1, len(cards)) * row_height + _GAP)
    sheet = Image.new("RGB", size, _BACKGROUND)
    for k, card in enumerate(cards):
        _draw_row(sheet, card, k * row_height + _GAP, class_colours(names))
    return image_bytes(np.asarray(sheet), "PNG")


def _draw_row(sheet: Image.Image, card: Card, top: int, colours: np.ndarray) -> None:
    """Name, captions, panels, and a line of swatches."""
    draw, font = ImageDraw.Draw(sheet), label_font(14)
    panel_width, panel_height = _SHEET_PANEL
    name = card.name if len(card.name) <= 40 else card.name[:39] + "…"
    for k, panel in enumerate(card.panels):
        left = _GAP + k * (panel_width + _GAP)
        caption = f"{name}  ({panel.caption.lower()})" if k == 0 else panel.caption
        draw.text((left, top), caption, _INK if k == 0 else _FAINT, font)
        picture = Image.open(io.BytesIO(panel.jpeg))
        picture.thumbnail(_SHEET_PANEL, Image.Resampling.LANCZOS)
        sheet.paste(picture, (left, top + _LINE))
    left, middle = _GAP, top + _LINE + panel_height + _LINE // 2
    accepted = [record for record in card.classes if record.accepted]
    for record in sorted(accepted, key=lambda r: -r.refined_pixels)[:_SHEET_NAMES]:
        text = f"{record.name} {100 * (record.refined_pixels / card.size):.0f} %"
        width = int(font.getlength(text)) + 40
        if left + width > sheet.width:
            break
        colour = tuple(colours[record.class_id].tolist())
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


def _painted(photo: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Class colours over the photo; hatched where there is no label, whatever the photo shows."""
    return paint_labels(photo, labels_at_size(labels, photo.shape[:2]), names)
