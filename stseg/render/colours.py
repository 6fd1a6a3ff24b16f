"""One colour per class id, the same in every picture. NumPy only."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from stseg.utils import IGNORE_LABEL

UNKNOWN_COLOUR = (128, 128, 128)
_PALETTE_SIZE = 1024
# Linear sRGB to CIE XYZ, whose white is D65.
_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)


@cache
def _palette() -> np.ndarray:
    """(1024, 3) uint8 RGB; every colour is as far as can be from all before it, as eyes see it.

    Farthest-point order over a grid of colours in CIELAB, so that the colours of few classes are
    very distinct, and the colour of an id never depends on how many classes there are.
    """
    levels = np.linspace(0, 255, 15).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    lab = rgb_to_lab(grid)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    # Grey is for "unknown"; near-black and near-white vanish in most photographs.
    keep = (chroma > 22) & (lab[:, 0] > 25) & (lab[:, 0] < 92)
    grid, lab = grid[keep], lab[keep]
    order = [int(np.argmin(np.abs(grid.astype(int) - (230, 60, 40)).sum(axis=1)))]
    distance = np.linalg.norm(lab - lab[order[0]], axis=1)
    while len(order) < _PALETTE_SIZE:
        order.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[order[-1]], axis=1))
    return grid[order]


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB colours under D65.

    Args:
        rgb: (..., 3) uint8.

    Returns:
        (..., 3) float: L in [0, 100], a and b about zero.
    """
    value = rgb / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _TO_XYZ.sum(axis=1)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def class_colours(ids: np.ndarray | Sequence[int]) -> np.ndarray:
    """Colours of class ids: the same id has the same colour in every picture.

    Args:
        ids: integers of any shape; -1 is unknown.

    Returns:
        uint8 RGB of shape (*ids.shape, 3).
    """
    ids = np.asarray(ids)
    colours = _palette()[ids % _PALETTE_SIZE]
    colours[ids == IGNORE_LABEL] = UNKNOWN_COLOUR
    return colours
