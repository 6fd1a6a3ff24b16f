"""What a request may hold, and the reading of its picture and words. No path is opened here."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np

from stseg.data import BrokenFileError, PackedImage, open_image, read_image
from stseg.structures import Background, Vocabulary, is_shipped, split_text

#: How files of the kinds that are taken begin. Other decoders of Pillow's never see the bytes.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_KINDS = "JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF or HEIC"
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF")
#: Of a message, in characters: what is quoted in it may be long.
_LONGEST_MESSAGE = 600


class RefusedError(ValueError):
    """A request that is not answered, with what is wrong in words for the one who sent it.

    Attributes:
        status: of HTTP.
        retry_after: seconds after which the same request may be answered; None for never.
    """

    def __init__(self, text: object, status: int = 422, retry_after: int | None = None) -> None:
        message = str(text)
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[:_LONGEST_MESSAGE]} ..."
        super().__init__(message.encode("utf-8", errors="replace").decode("utf-8"))
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Attributes:
        max_bytes: of a picture's file.
        max_pixels: of a picture, width times height, as its header says.
        max_names: of a request, synonyms and distractors included.
        max_name_length: in characters.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_names: int = 500
    max_name_length: int = 100

    @property
    def max_body(self) -> int:
        """Bytes of a whole request: the picture, the words in UTF-8 twice, and what parts them."""
        return self.max_bytes + 8 * self.max_names * (self.max_name_length + 2) + 65536


def read_picture(content: bytes, limits: Limits) -> np.ndarray:
    """Decode the file of a picture.

    Args:
        content: its bytes.
        limits: of bytes and pixels; these are taken from the header, before a pixel is decoded.

    Returns:
        (H, W, 3) uint8 RGB, as `stseg.data.read_image` gives it.

    Raises:
        RefusedError: if it is too large, of another kind or damaged.
    """
    if len(content) > limits.max_bytes:
        raise RefusedError(
            f"Picture: expected at most {limits.max_bytes / 1e6:g} MB, got "
            f"{len(content) / 1e6:.1f} MB. Send a smaller copy.",
            status=413,
        )
    if not content:
        raise RefusedError("Picture: expected a file, got an empty one. Choose another file.")
    # A name of our own: the client's says nothing that the bytes do not say.
    file = PackedImage("upload", content)
    is_known = content.startswith(_BEGINNINGS) or content[4:8] == b"ftyp"
    is_known |= content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    try:
        with open_image(file) as image:
            kind, (width, height) = image.format, image.size
            if not is_known or kind not in _FORMATS:
                raise _other_kind()
    except BrokenFileError as error:
        raise (RefusedError(error) if is_known else _other_kind()) from error
    if width * height > limits.max_pixels:
        raise RefusedError(
            f"Picture: expected at most {limits.max_pixels / 1e6:g} megapixels, got "
            f"{width * height / 1e6:.1f} ({width} x {height}). Send a smaller copy.",
            status=413,
        )
    try:
        return read_image(file)
    except BrokenFileError as error:
        raise RefusedError(error) from error
    except ValueError as error:
        raise RefusedError(error, status=413) from error


def _other_kind() -> RefusedError:
    return RefusedError(
        f"Picture: expected {_KINDS}, got a file of another kind. Save it as JPEG or PNG.",
        status=415,
    )


def read_words(words: str, distractors: str, limits: Limits) -> Vocabulary:
    """The vocabulary that is asked for.

    Args:
        words: as `stseg predict --vocabulary` takes them, but for files: classes parted by
            semicolons or new lines, synonyms by commas; or "vocab:<list>", a list that ships.
        distractors: words of which the pixels become unknown; "" for none.
        limits: of names.

    Raises:
        RefusedError: if there are too many, one is too long, or they are faulty.
    """
    count = 0
    for what, text in (("words", words), ("distractors", distractors)):
        _check_text(what, text)
        if not is_shipped(text):
            count += _check_names(what, text, limits)
    _check_count(count, limits)
    try:
        background = Background.distractors(_entries(distractors)) if distractors.strip() else None
        parsed = Vocabulary.parse(_entries(words), background=background)
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise RefusedError(error) from error
    _check_count(sum(map(len, parsed.synonyms)) + len(parsed.background.names), limits)
    return parsed


def _entries(text: str) -> str | list[str]:
    """What the Vocabulary reads without looking for a file: a list, or one that ships."""
    return text.strip() if is_shipped(text) else split_text(text)


def _check_text(what: str, text: str) -> None:
    if not isinstance(text, str):
        raise RefusedError(f"{what}: expected text, got {type(text).__name__}.")
    odd = next(
        (x for x in text if unicodedata.category(x) in ("Cc", "Cs") and x not in "\r\n\t"), ""
    )
    if odd:
        raise RefusedError(
            f"{what}: expected letters, got the control character U+{ord(odd):04X}. Take it out."
        )
    lone = text.strip().lower()
    if "\n" not in lone and ";" not in lone and lone.endswith((".txt", ".json")):
        raise RefusedError(
            f"{what}: expected words such as 'cat; dog', got {text.strip()[:80]!r}, which looks "
            "like a file. The server opens none: send the words that stand in it."
        )


def _check_names(what: str, text: str, limits: Limits) -> int:
    """Refuse names that are too long; gives their number."""
    names = [name.strip() for entry in split_text(text) for name in entry.split(",")]
    longest = max(names, key=len, default="")
    if len(longest) > limits.max_name_length:
        raise RefusedError(
            f"{what}: expected names of at most {limits.max_name_length} characters, got one of "
            f"{len(longest)}, {longest[:40]!r} and so on. Shorten it; semicolons part classes."
        )
    return len(names)


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.max_names:
        raise RefusedError(
            f"words: expected at most {limits.max_names} names with synonyms and distractors, got "
            f"{count}. Ask for fewer, or start the server with a higher --max-names."
        )
