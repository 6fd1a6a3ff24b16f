"""Reading images and label maps from disk, with errors that name the file and the cure.

NumPy and Pillow only, so that command-line evaluation works without torch and Detectron2.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from stseg.structures import IGNORE_LABEL
from stseg.utils import some_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
LABEL_SUFFIXES = (".png", ".tif", ".tiff")

# Pillow modes whose pixel values are ids: grey of 1, 8, 16 and 32 bits, and palette indices.
_ID_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")
# Beyond so many colours a file is a picture; so many are shown.
_MOST_COLOURS, _SHOWN_COLOURS = 256, 6
# With more classes nobody writes a table of values on the command line.
_FEW_CLASSES = 8
# What Pillow raises on damaged files, by format and by where the damage lies.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


class BrokenFileError(OSError):
    """A file that exists and cannot be decoded: empty, truncated or not an image."""


@contextmanager
def _named(path: str | PathLike[str], what: str) -> Iterator[None]:
    """Say which file is missing or broken, where reading it inside fails."""
    try:
        yield
    except FileNotFoundError as e:
        raise FileNotFoundError(f"{what}: expected a file, got none at {path}.") from e
    except PermissionError as e:
        raise PermissionError(f"{what} {path}: expected a readable file, got {e.strerror}.") from e
    except (*_DECODE_ERRORS, Image.DecompressionBombError) as e:
        raise BrokenFileError(
            f"{what} {path}: expected a complete image file, got one that cannot be decoded ({e}). "
            "Replace the file, or remove it together with its partner."
        ) from e


def _open(path: str | PathLike[str], what: str) -> Image.Image:
    """Open and decode a file completely."""
    with _named(path, what), Image.open(path) as image:
        image.load()
        return image


def read_image(path: str | PathLike[str]) -> np.ndarray:
    """Read an image as people see it: EXIF orientation applied.

    Returns:
        (H, W, 3) uint8, RGB. Sixteen-bit grey keeps its upper eight bits.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it is empty, truncated or not an image.
    """
    return to_rgb(_open(path, "Image"))


def image_size(path: str | PathLike[str]) -> tuple[int, int]:
    """(height, width) in pixels of an image as people see it, from its header alone.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it is empty or not an image.
    """
    with _named(path, "Image"), Image.open(path) as image:
        if image.format == "TIFF" and _is_turned(image):
            image.load()  # turns it and forgets how; the size alone is turned before or after
        width, height = image.size
        is_turned = _is_turned(image)
    return (width, height) if is_turned else (height, width)


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)


def read_colours(path: str | PathLike[str], what: str) -> np.ndarray:
    """Read a file whose colours are data, not a picture.

    Args:
        path: of 8-bit RGB or RGBA, as panoptic maps are.
        what: the file is, for messages.

    Returns:
        (H, W, 3) uint8.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it cannot be decoded.
        ValueError: if it holds no colours.
    """
    image = _open(path, what)
    if image.mode not in ("RGB", "RGBA"):
        raise ValueError(f"{what} {path}: expected colours of 8 bits, got mode {image.mode}.")
    return np.array(image)[..., :3]


def to_rgb(image: Image.Image) -> np.ndarray:
    """Any Pillow image as people see it: orientation applied, transparent parts on white.

    Returns:
        (H, W, 3) uint8, RGB. Sixteen-bit grey keeps its upper eight bits.
    """
    if image.getexif():  # exif_transpose copies all others
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray(_upper_bits(np.asarray(image)))
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _upper_bits(values: np.ndarray) -> np.ndarray:
    """Eight bits of 16 (Pillow itself would clip, and the picture would come out white)."""
    values = values.astype(np.int64).clip(0, 65535)
    return (values >> 8 if values.max(initial=0) > 255 else values).astype(np.uint8)


def read_ids(path: str | PathLike[str], what: str = "Label map") -> np.ndarray:
    """Read one id per pixel as the file holds it: grey of 1, 8, 16 or 32 bits, or palette index.

    Args:
        path: PNG or TIFF.
        what: the file is, for messages.

    Returns:
        (H, W) int64.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it cannot be decoded.
        ValueError: if it holds colours, or grey of 2 or 4 bits.
    """
    return _stored_ids(path, what).astype(np.int64)


def _stored_ids(path: str | PathLike[str], what: str) -> np.ndarray:
    """What `read_ids` returns, in the type that Pillow chose."""
    image = _open(path, what)
    if image.mode not in _ID_MODES:
        raise ValueError(
            f"{what} {path}: expected one 8- or 16-bit id per pixel (grey or palette), got "
            f"mode {image.mode}{_colours_in(image)}"
        )
    ids = np.array(image)
    # Stretched values are multiples of 17, so that most files need no second look.
    if image.mode == "L" and not (ids[::16, ::16] % 17).any() and _is_stretched(path):
        raise ValueError(
            f"{what} {path}: expected grey of 8 or 16 bits, got 2 or 4 bits, which readers stretch "
            "to 0..255, so that the ids are lost. Save it as grey of 8 bits or with a palette."
        )
    return ids


def _colours_in(image: Image.Image) -> str:
    """What colours an image holds, and how to say what they mean."""
    if image.mode not in ("RGB", "RGBA"):
        return ". Save it as grey or with a palette."
    found: Any = image.convert("RGB").getcolors(_MOST_COLOURS)  # pairs of a count and a colour
    if found is None:
        return f" and more than {_MOST_COLOURS} colours, as photographs have. Give the label maps."
    found.sort(reverse=True)
    pixels = image.width * image.height
    shares = [f"{hex_of(rgb)} ({100 * count / pixels:.1f} %)" for count, rgb in found]
    some = sorted(rgb for _, rgb in found[:_SHOWN_COLOURS])  # black, mostly the ground, is first
    table = ",".join(f"{hex_of(rgb)}:{i}" for i, rgb in enumerate(some))
    return (
        f" with the colours {some_of(shares, _SHOWN_COLOURS)}. Say which class each colour means, "
        f"such as colours={table}, or colours=FILE with a line R G B CLASS for each."
    )


def hex_of(rgb: Sequence[int]) -> str:
    """A colour, three numbers from 0 to 255, as text: "#ff0000"."""
    return "#" + "".join(f"{part:02x}" for part in rgb)


def read_packed(path: str | PathLike[str], what: str = "Label map") -> np.ndarray:
    """Read colours that stand for classes, each as one number: 65536 R + 256 G + B.

    Args:
        path: PNG or TIFF of 8-bit colours, palette or grey; transparency does not count.
        what: the file is, for messages.

    Returns:
        (H, W) int32.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it cannot be decoded.
        ValueError: if it holds more than 8 bits.
    """
    image = _open(path, what)
    if image.mode not in ("1", "L", "P", "RGB", "RGBA"):
        raise ValueError(f"{what} {path}: expected colours of 8 bits, got mode {image.mode}.")
    red, green, blue = np.moveaxis(np.array(image.convert("RGB")).astype(np.int32), 2, 0)
    return (red << 16) + (green << 8) + blue


def _is_stretched(path: str | PathLike[str]) -> bool:
    """Whether Pillow turned grey of 2 or 4 bits into 8; it only says so before decoding."""
    with Image.open(path) as image:
        return any(";2" in str(tile[3]) or ";4" in str(tile[3]) for tile in image.tile)


def read_label(
    path: str | PathLike[str],
    num_classes: int,
    ignore_labels: Sequence[int],
    label_ids: Sequence[int] | None = None,
    dtype: type[np.signedinteger] = np.int64,
) -> np.ndarray:
    """Read a label map of 8 or 16 bits without loss.

    Args:
        path: grey or palette PNG or TIFF; the palette index is the id.
        num_classes: ids 0 .. num_classes - 1 are classes.
        ignore_labels: ids in the file that carry no class.
        label_ids: for every id in the file from 0 on the class it stands for, or `IGNORE_LABEL`;
            by default ids are classes.
        dtype: of the result; 16 bits are read several times as fast as 64.

    Returns:
        (H, W) of `dtype` in [0, num_classes), `IGNORE_LABEL` where the file holds one of
        `ignore_labels`.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it cannot be decoded.
        ValueError: if it does not hold ids (see `read_ids`), or one that is neither a class nor
            ignored.
    """
    ids = _stored_ids(path, "Label map")
    num_ids = num_classes if label_ids is None else len(label_ids)
    outside = (ids < 0) | (ids >= num_ids) if ids.dtype.kind == "i" else ids >= num_ids
    # Most maps hold few ignored ids: comparing with each is faster than a table of all ids.
    ignored = [ids == i for i in ignore_labels]
    for mask in ignored:
        outside &= ~mask
    if outside.any():
        cure = suggested_values(np.unique(ids), num_ids) if label_ids is None else ""
        raise ValueError(
            f"Label map {path}: expected ids 0 to {num_ids - 1} ({num_classes} classes) or "
            f"the ignored {some_of(ignore_labels, 8)}, got {some_of(np.unique(ids[outside]), 8)}. "
            "Prepare the label maps again, or give the names and the ignored id that belong to "
            f"them{cure}."
        )
    label = ids.astype(dtype)
    for mask in ignored:
        label[mask] = IGNORE_LABEL
    if label_ids is not None:  # the last entry is also entry IGNORE_LABEL
        label = np.array([*label_ids, IGNORE_LABEL], dtype=dtype).take(label)
    return label


def suggested_values(found: np.ndarray, num_classes: int) -> str:
    """How to say what values mean that are few enough to be the classes, "" for others.

    Args:
        found: the values in label maps, rising.
        num_classes: that they may stand for.
    """
    if found.size and found[0] >= 0 and found[found < 255].max(initial=0) == num_classes:
        return ", or reduce_zero_label=true where 0 carries no class"
    if not len(found) <= num_classes <= _FEW_CLASSES:
        return ""
    table = ",".join(f"{value}:{i}" for i, value in enumerate(found.tolist()))
    return f", or say what the values mean, such as values={table}"
