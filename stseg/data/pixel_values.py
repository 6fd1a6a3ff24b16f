"""From whatever pixels a file holds to eight bits of red, green and blue. NumPy and Pillow only."""

from __future__ import annotations

import struct

import numpy as np
from PIL import ExifTags, Image

#: Values of sensors and file formats: the least of these that fits is taken for white.
_BITS = (8, 10, 12, 14, 16, 24, 31, 32)
#: Share of the pixels that may be brighter than white: dead pixels, lamps, marks for "no data".
_BRIGHTER = 0.001
_SAMPLE = 1 << 20
# What Pillow raises on EXIF fields that are not of their type, or lead out of the file.
_BROKEN_EXIF = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    struct.error,
)
_Way = Image.Transpose
#: How to turn what is stored into what people see, by EXIF orientation (EXIF 2.32, table 6).
_TURNS = {
    2: _Way.FLIP_LEFT_RIGHT,
    3: _Way.ROTATE_180,
    4: _Way.FLIP_TOP_BOTTOM,
    5: _Way.TRANSPOSE,
    6: _Way.ROTATE_270,
    7: _Way.TRANSVERSE,
    8: _Way.ROTATE_90,
}


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1, upright, where there is none that can be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        number = int(value[0] if isinstance(value, tuple) else value)
    except _BROKEN_EXIF:
        return 1
    return number if number in _TURNS else 1


def swaps_sides(orientation: int) -> bool:
    """Whether a picture of this orientation is seen as wide as it is stored high."""
    return orientation >= 5


def labels_may_be_turned(orientation: int, size: tuple[int, int]) -> bool:
    """Whether labels drawn on the pixels as stored cannot be told from others by their size.

    Args:
        orientation: of EXIF.
        size: (height, width) of the picture.
    """
    return orientation != 1 and (not swaps_sides(orientation) or size[0] == size[1])


def as_seen(image: Image.Image, orientation: int) -> np.ndarray:
    """Any Pillow image as people see it: turned by `orientation`, transparent parts on white.

    Returns:
        (H, W, 3) uint8, RGB; what has more bits goes through `eight_bits`.
    """
    if orientation != 1:
        image = image.transpose(_TURNS[orientation])
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(eight_bits(np.asarray(image)))
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def deep_as_seen(values: np.ndarray, orientation: int) -> np.ndarray:
    """What `as_seen` gives for colours of more than eight bits, which Pillow would cut.

    Args:
        values: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA of 16 bits or floats, as stored.
        orientation: of EXIF.
    """
    pixels = eight_bits(values[..., :3] if values.ndim == 3 else values)
    if values.ndim == 3 and values.shape[2] == 4:
        opaque = 65535 if values.dtype == np.uint16 else 1
        alpha = (values[..., 3:].astype(np.float32) * (255 / opaque)).clip(0, 255)
        pixels = np.concatenate([pixels, alpha.round().astype(np.uint8)], axis=2)
    return as_seen(Image.fromarray(pixels), orientation)


def white_of(values: np.ndarray) -> float:
    """The value that is shown as white.

    One for floats up to about one, else the greatest value of 8, 10, 12, 14, 16, 24, 31 or 32 bits:
    of the fewest that all values but one in a thousand fit. Pictures of a 12-bit camera are so read
    in full, and neither a dead pixel nor a mark for "no data" darkens the rest.

    Args:
        values: integers or floats of any shape.
    """
    flat = values.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLE)]
    if values.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 255
    high = float(np.quantile(sample, 1 - _BRIGHTER, method="higher"))
    if values.dtype.kind == "f" and high <= 2:  # reflectances and HDR may exceed one a little
        return 1
    return next((2.0**b - 1 for b in _BITS if high < 2**b), 2.0**32 - 1)


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Values of any type as uint8, black at 0 and below, white at `white_of`."""
    if values.dtype in (np.uint8, np.bool_):
        return values.astype(np.uint8) * (255 if values.dtype == np.bool_ else 1)
    white = white_of(values)
    if values.dtype.kind == "f":
        scaled = np.nan_to_num(values, nan=0.0, posinf=white, neginf=0.0) * (255 / white)
        return scaled.round().clip(0, 255).astype(np.uint8)
    shift = int(white).bit_length() - 8
    return (values.clip(0, int(white)) >> shift).astype(np.uint8)
