"""Pictures of label maps: a colour per class name, an overlay, a legend.

NumPy, Pillow and OpenCV only.
"""

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stseg.render.colours import UNKNOWN_COLOUR, class_colours, hatch, label_colours
from stseg.render.pixels import bands
from stseg.utils import IGNORE_LABEL

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_MAX_NAME_CHARACTERS = 28
_MIN_SIDE = 360  # smaller pictures are enlarged, so that outlines and legend can be read,
_MAX_ENLARGED = 2000  # but never beyond this on their longer side
_MAX_ROWS = 60
_LINE_HEIGHTS = (18, 64)
_PANEL_COLOUR = (32, 32, 32)
_TEXT_COLOUR = (240, 240, 240)


class _Row(NamedTuple):
    """A line of the legend; no id = no swatch. The share is in [0, 1]."""

    class_id: int | None
    name: str
    share: float


def draw_overlay(
    image: np.ndarray | None,
    label_map: np.ndarray,
    names: Sequence[str],
    *,
    legend_ids: Sequence[int] | None = None,
) -> np.ndarray:
    """Paint a label map over its image, outline the regions, add a legend on the right.

    Args:
        image: (H, W, 3) uint8 RGB; None for the colours alone.
        label_map: (H, W) integers, index into `names`, -1 where unknown.
        names: T class names.
        legend_ids: classes to list, -1 for "unknown"; by default what is present, largest first.
            Give all of them where pictures must have one size, as in a video.

    Returns:
        (H', W', 3) uint8 RGB: the picture (enlarged if small) with the legend beside it.

    Raises:
        ValueError: if image and label map differ in size or the image is not uint8 RGB.
    """
    if image is not None:
        check_image(image, label_map)
    picture, labels = _enlarge(image, label_map)
    rows = _legend_rows(label_map, names, legend_ids)
    legend = _draw_legend(rows, labels.shape[0], class_colours(names))
    return np.concatenate([paint_labels(picture, labels, names), legend], axis=1)


def check_image(image: np.ndarray, label_map: np.ndarray) -> None:
    """Refuse what cannot lie under a label map.

    Raises:
        ValueError: if image and label map differ in size or the image is not uint8 RGB.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"Overlay: expected a (H, W, 3) uint8 image, got {image.shape} {image.dtype}."
        )
    if image.shape[:2] != label_map.shape:
        raise ValueError(
            "Overlay: expected image and label map of one size, got "
            f"{image.shape[:2]} and {label_map.shape}."
        )


def paint_labels(
    image: np.ndarray | None, label_map: np.ndarray, names: Sequence[str], *, opacity: float = 0.55
) -> np.ndarray:
    """The picture of `draw_overlay` alone: no legend, never enlarged.

    Unknown is hatched, over the dimmed photograph.

    Args:
        image: (H, W, 3) uint8 RGB; None for the colours alone.
        label_map: (H, W) integers, index into `names`, -1 where unknown.
        names: T class names.
        opacity: of the class colours, in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = np.empty((*label_map.shape, 3), dtype=np.uint8)
    width = _outline_width(label_map.shape)
    for rows in bands(label_map.shape):
        # Outlines depend on the rows about them.
        above = max(rows.start - width, 0)
        labels, part = label_map[above : rows.stop + width], label_map[rows]
        band = label_colours(part, names)
        unknown = part == IGNORE_LABEL
        if image is not None:
            photo = image[rows]
            band = cv2.addWeighted(photo, 1 - opacity, band, opacity, 0)
            band[unknown] = _scaled(photo[unknown], 0.6)
        hatch(band, unknown, rows.start, label_map.shape)
        edges = _outlines(labels, width)[rows.start - above :][: len(part)]
        band[edges] = _scaled(band[edges], 0.35)
        picture[rows] = band
    return picture


def _scaled(values: np.ndarray, factor: float) -> np.ndarray:
    return (np.arange(256) * factor).round().astype(np.uint8)[values]


def area_shares(label_map: np.ndarray, num_classes: int) -> np.ndarray:
    """(T,) share of the picture, in [0, 1], that each class covers; they sum to 1 - unknown."""
    return class_pixels(label_map, num_classes) / max(label_map.size, 1)


def class_pixels(label_map: np.ndarray, num_classes: int) -> np.ndarray:
    """(T,) number of pixels of each class."""
    counts = np.zeros(num_classes, dtype=np.int64)
    for rows in bands(label_map.shape):
        part = label_map[rows]
        counts += np.bincount(part[part >= 0], minlength=num_classes)[:num_classes]
    return counts


def draw_legend(
    label_map: np.ndarray,
    names: Sequence[str],
    height: int,
    *,
    max_rows: int = _MAX_ROWS,
    shown: Sequence[str] | None = None,
) -> np.ndarray:
    """The legend of `draw_overlay` alone: swatch, name and share of what is present.

    Args:
        label_map: (H, W) integers, index into `names`, -1 where unknown.
        names: T class names.
        height: of the legend in pixels.
        max_rows: classes to list, largest first; the rest is summed up in one line.
        shown: T texts instead of the names.

    Returns:
        (height, W', 3) uint8 RGB.
    """
    rows = _legend_rows(label_map, shown or names, None, max_rows)
    return _draw_legend(rows, height, class_colours(names))


def _enlarge(
    image: np.ndarray | None, label_map: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """Both, at least 360 pixels on the shorter side, and labels as int32."""
    labels = label_map.astype(np.int32)
    factor = min(-(-_MIN_SIDE // min(labels.shape)), _MAX_ENLARGED // max(labels.shape))
    if factor > 1:
        if image is not None:
            image = image.repeat(factor, axis=0).repeat(factor, axis=1)
        labels = labels.repeat(factor, axis=0).repeat(factor, axis=1)
    return image, labels


def _outline_width(shape: Sequence[int]) -> int:
    return max(1, round(min(shape) / 500))


def _outlines(labels: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: pixels whose right or lower neighbour has another label, made wide enough."""
    edges = np.zeros(labels.shape, dtype=np.uint8)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return cv2.dilate(edges, np.ones((width, width), dtype=np.uint8)).astype(bool)


@cache
def label_font(size: int) -> _Font:
    """DejaVu Sans, which knows most alphabets and comes with Matplotlib; else Pillow's own."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


def _legend_rows(
    label_map: np.ndarray,
    names: Sequence[str],
    ids: Sequence[int] | None,
    max_rows: int = _MAX_ROWS,
) -> list[_Row]:
    shares = area_shares(label_map, len(names))
    unknown = 1 - float(shares.sum())
    if ids is None:
        ids = sorted(np.flatnonzero(shares).tolist(), key=lambda i: -shares[i])
        with_unknown = unknown > 1e-9
    else:
        with_unknown = IGNORE_LABEL in ids
        ids = [i for i in ids if i != IGNORE_LABEL]
    rows = [_Row(i, names[i], shares[i]) for i in ids[:max_rows]]
    if len(ids) > max_rows:
        rest = ids[max_rows:]
        rows.append(_Row(None, f"and {len(rest)} more", sum(shares[i] for i in rest)))
    if with_unknown:
        rows.append(_Row(IGNORE_LABEL, "unknown", unknown))
    return rows


def printable(name: str, class_id: int | None, font: _Font) -> str:
    """The name, cut if long; with the class id in front if the font lacks some character."""
    if len(name) > _MAX_NAME_CHARACTERS:
        name = name[: _MAX_NAME_CHARACTERS - 1] + "…"
    missing = bytes(font.getmask("\uffff"))
    lacks = any(bytes(font.getmask(character)) == missing for character in name if character > "~")
    return f"#{class_id} {name}" if lacks else name


def _draw_legend(rows: Sequence[_Row], height: int, colours: np.ndarray) -> np.ndarray:
    """Swatch, name and area share per row, in as many columns as the height asks for.

    Returns:
        (height, W, 3) uint8 RGB.
    """
    line = int(np.clip(height // 26, *_LINE_HEIGHTS))
    font, pad = label_font(round(line * 0.62)), line // 3
    share_width = int(font.getlength("100.0 %"))
    per_column = max(1, (height - line // 2) // line)
    columns = [rows[i : i + per_column] for i in range(0, len(rows), per_column)]
    texts = [[printable(row.name, row.class_id, font) for row in column] for column in columns]
    widths = [max(int(font.getlength(text)) for text in column) for column in texts]
    column_widths = [line + pad + width + 2 * pad + share_width for width in widths]
    panel = Image.new("RGB", (sum(column_widths) + pad * (len(columns) + 1), height), _PANEL_COLOUR)
    draw = ImageDraw.Draw(panel)
    left = pad
    for column, names, width in zip(columns, texts, column_widths, strict=True):
        for k, (row, name) in enumerate(zip(column, names, strict=True)):
            top = line // 4 + k * line
            if row.class_id is not None:
                box = (left, top + line // 8, left + line - 2, top + line - line // 8)
                panel.paste(_swatch(row.class_id, line, colours), box[:2])
                draw.rectangle(box, outline=_TEXT_COLOUR)
            middle = top + line // 2
            draw.text((left + line + pad, middle), name, _TEXT_COLOUR, font, anchor="lm")
            share = f"{100 * row.share:.1f} %"
            draw.text((left + width, middle), share, _TEXT_COLOUR, font, anchor="rm")
        left += width + pad
    return np.asarray(panel)


def _swatch(class_id: int, line: int, colours: np.ndarray) -> Image.Image:
    """What stands in the legend for a class; unknown is hatched there, too."""
    is_known = class_id != IGNORE_LABEL
    shape = (line - 2 * (line // 8), line - 2)
    pixels = np.empty((*shape, 3), dtype=np.uint8)
    pixels[:] = colours[class_id] if is_known else UNKNOWN_COLOUR
    hatch(pixels, np.full(shape, not is_known))
    return Image.fromarray(pixels)
