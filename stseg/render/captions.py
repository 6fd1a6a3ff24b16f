"""An overlay of the photograph's own size, with the names of the classes written into it."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from stseg.render.overlay import area_shares, label_font, paint_labels, printable
from stseg.render.pixels import labels_at_size
from stseg.utils import IGNORE_LABEL

_SEARCH_SIDE = 512  # of the label map in which places are looked for
_MOST_NAMES = 40
_SHRINKS = (1.0, 0.75, 0.55)
_FONT_SIZES = (11, 96)


def named_overlay(
    image: np.ndarray | None,
    label_map: np.ndarray,
    names: Sequence[str],
    size: Sequence[int] | None = None,
) -> np.ndarray:
    """A label map over its photograph, every name in the largest region of its class.

    Args:
        image: (H, W, 3) uint8 RGB; None for the colours alone.
        label_map: (H, W) integers, index into `names`, -1 where unknown.
        names: T class names; one is left out where it has no room.
        size: (H', W') of the picture; by default that of the label map.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        ValueError: if the size is none of a picture.
    """
    height, width = label_map.shape if size is None else size
    if min(height, width) < 1:
        raise ValueError(f"Overlay size: expected (height, width) above 0, got {size}.")
    label_map = labels_at_size(label_map, (height, width))
    if image is not None and image.shape[:2] != (height, width):
        is_smaller = height < image.shape[0]
        how = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
        image = cv2.resize(image, (width, height), interpolation=how)
    return write_names(paint_labels(image, label_map, names), label_map, names)


def write_names(picture: np.ndarray, label_map: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Write the name of every class into its largest region, if it fits in there.

    Args:
        picture: (H, W, 3) uint8 RGB.
        label_map: (H, W) integers, index into `names`, -1 where unknown.
        names: T class names.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    written = Image.fromarray(picture)
    draw = ImageDraw.Draw(written)
    scale = min(1.0, _SEARCH_SIDE / max(label_map.shape))
    small = labels_at_size(label_map, [max(1, round(side * scale)) for side in label_map.shape])
    ratio = np.array(small.shape) / label_map.shape
    largest = int(np.clip(max(label_map.shape) / 32, *_FONT_SIZES))
    sizes = sorted({max(_FONT_SIZES[0], round(largest * shrink)) for shrink in _SHRINKS})[::-1]
    shares = area_shares(small, len(names))
    present = sorted(np.flatnonzero(shares).tolist(), key=lambda i: -shares[i])[:_MOST_NAMES]
    for class_id in [*present, IGNORE_LABEL]:
        region = _largest_region(small == class_id)
        name = names[class_id] if class_id != IGNORE_LABEL else "unknown"
        for size in sizes:
            font, stroke = label_font(size), max(1, size // 10)
            text = printable(name, class_id, font)
            box = draw.textbbox((0, 0), text, font, "mm", stroke_width=stroke)
            wide, high = (2 * max(-box[k], box[k + 2]) for k in (0, 1))
            place = _place(region, np.ceil(np.array((high, wide)) * ratio).astype(int) + 2)
            if place is not None:
                y, x = ((np.array(place) + 0.5) / ratio).tolist()
                draw.text(
                    (x, y), text, "white", font, "mm", stroke_width=stroke, stroke_fill="black"
                )
                break
    return np.asarray(written)


def _largest_region(mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8: the largest connected part, 0 everywhere where there is none."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return np.zeros(mask.shape, dtype=np.uint8)
    return (parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)


def _place(region: np.ndarray, box: np.ndarray) -> tuple[int, int] | None:
    """(row, column) about which a box of (height, width) lies in the region, far from its edge."""
    if (box > region.shape).any() or box.prod() > np.count_nonzero(region):
        return None
    kernel = np.ones(box.tolist(), dtype=np.uint8)
    room = cv2.erode(region, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if not room.any():
        return None
    inside = cv2.copyMakeBorder(region, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.where(room > 0, depth, -1).argmax()), region.shape)
    return int(row), int(column)
