"""One colour per class name, the same in every picture and vocabulary. NumPy only."""

import hashlib
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np

UNKNOWN_COLOUR = (128, 128, 128)
_STRIPE = 225
_PALETTE_SIZE = 1024
_FIRST_CHOICES = 64  # colours that a name may ask for; the nearest two are 22 apart in CIELAB
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

    Farthest-point order over a grid of colours in CIELAB, so that the first ones are very
    distinct.
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


def class_colours(names: Sequence[str]) -> np.ndarray:
    """Colours of the classes of a vocabulary.

    A name asks for the colour that its letters give, case and spaces aside, wherever it stands. Of
    several that ask for one colour the first of the alphabet gets it, and the others the next that
    nobody asks for: a name has another colour only where such a neighbour is in its vocabulary.

    Args:
        names: T names; beyond 1024 colours occur twice.

    Returns:
        (T, 3) uint8 RGB.
    """
    return _palette()[list(_places(tuple(names)))]


def label_colours(label_map: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The colours of a label map.

    Args:
        label_map: integers of any shape, index into `names`; -1 is unknown.
        names: T class names.

    Returns:
        uint8 RGB of shape (*label_map.shape, 3).
    """
    table = np.concatenate([class_colours(names), np.array([UNKNOWN_COLOUR], dtype=np.uint8)])
    return table[label_map]  # IGNORE_LABEL is the last entry


def hatch(
    picture: np.ndarray,
    where: np.ndarray,
    first: int = 0,
    shape: Sequence[int] | None = None,
) -> None:
    """Draw light diagonal stripes, which grow with the picture, into it.

    Args:
        picture: (H, W, 3) uint8, changed in place.
        where: (H, W) bool.
        first: row of a larger picture that these begin at.
        shape: (height, width) of that; by default it is this one.
    """
    if not where.any():
        return
    width = max(1, round(min(shape or where.shape) / 400))
    rows, columns = (np.arange(side, dtype=np.int32) for side in where.shape)
    stripes = (rows[:, None] + (columns + first)) // width % 12 < 2
    picture[where & stripes] = _STRIPE


def hex_colour(rgb: Sequence[int] | np.ndarray) -> str:
    """A colour as "#rrggbb"."""
    red, green, blue = (int(value) for value in rgb)
    return f"#{red:02x}{green:02x}{blue:02x}"


@lru_cache(maxsize=64)
def _places(names: tuple[str, ...]) -> tuple[int, ...]:
    """Of each name in the palette."""
    keys = [" ".join(name.split()).casefold() for name in names]
    places, taken = [-1] * len(names), set()
    late = []
    for i in sorted(range(len(names)), key=lambda i: keys[i]):
        places[i] = _wanted(keys[i])
        if places[i] in taken:
            late.append(i)
        taken.add(places[i])
    for i in late:
        place = _next_free(places[i], taken)
        taken.add(place)
        places[i] = place
    return tuple(places)


def _wanted(key: str) -> int:
    digest = hashlib.sha256(key.encode("utf-8", errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % _FIRST_CHOICES


def _next_free(place: int, taken: set[int]) -> int:
    """Around the first choices, then further into the palette; `place` where all is taken."""
    circle = [(place + k) % _FIRST_CHOICES for k in range(1, _FIRST_CHOICES)]
    beyond = range(_FIRST_CHOICES, _PALETTE_SIZE)
    return next((p for p in (*circle, *beyond) if p not in taken), place)
