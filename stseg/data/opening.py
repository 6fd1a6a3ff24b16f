"""Opening image files: of any size, without waiting, with errors that name file and cure."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from stseg.render import open_any_size
from stseg.utils import irregular_kind, is_installed

logger = logging.getLogger(__name__)

HEIF_SUFFIXES = (".heic", ".heif")
#: Images of more megapixels than this, 1000 by default, are refused before they fill the memory.
LIMIT_VARIABLE = "STSEG_MAX_MEGAPIXELS"

_RAW = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".raw", ".rw2")
_OTHER_KINDS = {
    **dict.fromkeys(HEIF_SUFFIXES, "HEIC: install pillow-heif, or convert them to JPEG."),
    ".avif": "AVIF: install a newer Pillow, or convert them to JPEG.",
    ".pdf": "PDF: save the pages as images.",
    ".svg": "SVG: save them as PNG.",
    **dict.fromkeys(_RAW, "Raw files: develop them to TIFF or JPEG."),
    **dict.fromkeys((".jp2", ".ppm", ".pgm", ".tga", ".psd", ".exr", ".ico"), "Save them as PNG."),
}
_NOT_PAGES = 0b101  # NewSubfileType of TIFF: a smaller copy, or a mask, of another page
# What Pillow raises on damaged files, by format and by where the damage lies.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
)
_CURES = {
    "Image": "Put a whole copy in its place, or take it out.",
    "": "Make it anew; one that this program made may be deleted, and the next run makes it again.",
}


def cure_for(suffix: str) -> str:
    """What to do about images of a kind that is not looked for; "" where it is none of these."""
    return _OTHER_KINDS.get(suffix, "")


class BrokenFileError(OSError):
    """A file that exists and cannot be decoded: empty, truncated or not an image."""


class TooLargeError(ValueError):
    """An image that is whole, and larger than is allowed."""


@dataclass(frozen=True)
class PackedImage:
    """An image file that lies inside of another one, such as a tar.

    Attributes:
        name: for messages.
        content: its bytes.
    """

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


#: Where an image is read from.
ImageFile = str | PathLike[str] | PackedImage


@contextmanager
def _named(path: ImageFile, what: str) -> Iterator[None]:
    """Say which file is missing or broken, where reading it inside fails."""
    kind = kind_instead(path)
    if kind:  # opening a pipe would wait for ever
        raise BrokenFileError(f"{what} {path}: expected a file, got {kind}. Take it out.")
    try:
        yield
    except (BrokenFileError, TooLargeError):
        raise
    except FileNotFoundError as e:
        raise FileNotFoundError(f"{what}: expected a file, got none at {path}.") from e
    except PermissionError as e:
        raise PermissionError(f"{what} {path}: expected a readable file, got {e.strerror}.") from e
    except _DECODE_ERRORS as e:
        cure = _CURES.get(what, _CURES[""])
        if isinstance(e, UnidentifiedImageError):
            cure = cure_for(_true_suffix(path)) or cure
        raise BrokenFileError(
            f"{what} {path}: expected a complete image file, got one that cannot be decoded ({e}). "
            f"{cure}"
        ) from e


def kind_instead(path: ImageFile) -> str:
    """See `irregular_kind`; bytes wait for nobody."""
    return "" if isinstance(path, PackedImage) else irregular_kind(path)


def suffix_of(path: ImageFile) -> str:
    """In small letters, with the dot."""
    return os.path.splitext(str(path))[1].lower()


def as_file(path: ImageFile) -> BinaryIO:
    """The bytes of an image file, open for reading."""
    return BytesIO(path.content) if isinstance(path, PackedImage) else open(path, "rb")


def _true_suffix(path: ImageFile) -> str:
    """The suffix that belongs to what a file holds, as far as such files are often called wrong."""
    with as_file(path) as file:
        head = file.read(12)
    if head.startswith(b"%PDF"):
        return ".pdf"
    if head[4:8] == b"ftyp" and head[8:] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return ".heic"
    return suffix_of(path)


def _opened(path: ImageFile) -> Image.Image:
    file = BytesIO(path.content) if isinstance(path, PackedImage) else path
    try:
        return open_any_size(file)
    except UnidentifiedImageError:
        if _true_suffix(path) not in HEIF_SUFFIXES or not is_installed("pillow_heif"):
            raise
    import pillow_heif

    pillow_heif.register_heif_opener()
    return open_any_size(file)


@contextmanager
def open_image(path: ImageFile, what: str = "Image") -> Iterator[Image.Image]:
    """A file of any size by its header, its pixels not decoded yet.

    Args:
        path: of a regular file, anything else is named, never waited for; or the bytes of one.
        what: it is, for messages.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it is empty or not an image, or what is done inside cannot decode it.
    """
    with _named(path, what):
        with _opened(path) as image:
            try:
                yield image
            except MemoryError as e:
                raise MemoryError(
                    f"{what} {path}: expected memory for {image.width} x {image.height} pixels, "
                    "got none. Free some, or cut the image into tiles."
                ) from e


def is_whole(path: str | PathLike[str]) -> bool:
    """Whether a PNG is there and as it was written, by its checksums; no pixel is decoded."""
    try:
        with open_image(path) as image:
            image.verify()
    except (OSError, ValueError):
        return False
    return True


def refuse_too_large(image: Image.Image, path: ImageFile, what: str) -> None:
    """Refuse what would fill the memory.

    Raises:
        TooLargeError: says what the limit is, and how it is raised.
    """
    text = os.environ.get(LIMIT_VARIABLE) or "1000"
    try:
        limit, (width, height) = float(text), image.size
    except ValueError as error:
        raise TooLargeError(f"{LIMIT_VARIABLE}: expected a number, got {text!r}.") from error
    if width * height > limit * 1e6:
        raise TooLargeError(
            f"{what} {path}: expected at most {limit:g} megapixels, got {width * height / 1e6:.0f} "
            f"({width} x {height}). Cut it into tiles, or set {LIMIT_VARIABLE} higher."
        )


def raw_modes(image: Image.Image) -> str:
    """How the pixels are stored; Pillow only says so before it decodes them."""
    return " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))


def count_pages(image: Image.Image) -> int:
    """Frames or pages that are pictures of their own."""
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return 1  # the other pictures of an MPO are for 3D, or how bright the first one is
    count = int(getattr(image, "n_frames", 1))
    if image.format == "TIFF":
        kinds = []
        for page in range(count):
            image.seek(page)
            kinds.append(image.tag_v2.get(254, 0))  # type: ignore[attr-defined]
        image.seek(0)
        count = sum(not kind & _NOT_PAGES for kind in kinds)
    return count


_told: set[str] = set()


def was_told(key: str) -> bool:
    """Whether `tell_once` has."""
    return key in _told


def tell_once(key: str, text: str) -> None:
    """Log a warning, the first time that this process comes upon it."""
    if key not in _told:
        _told.add(key)
        logger.warning(text)
