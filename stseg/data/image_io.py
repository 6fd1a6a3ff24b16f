"""Reading images and label maps from disk, with errors that name the file and the cure.

NumPy, Pillow and OpenCV only, so that command-line evaluation works without torch and Detectron2.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from PIL import ExifTags, Image, features

from stseg.data.opening import (
    HEIF_SUFFIXES,
    BrokenFileError,
    ImageFile,
    as_file,
    count_pages,
    kind_instead,
    open_image,
    raw_modes,
    refuse_too_large,
    suffix_of,
    tell_once,
    was_told,
)
from stseg.data.pixel_values import (
    as_seen,
    deep_as_seen,
    orientation_of,
    swaps_sides,
    white_of,
)
from stseg.structures import IGNORE_LABEL
from stseg.utils import is_installed, some_of

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"),
    *((".avif",) if features.check("avif") else ()),
    *(HEIF_SUFFIXES if is_installed("pillow_heif") else ()),
    *(".tif", ".tiff"),
)
LABEL_SUFFIXES = (".png", ".tif", ".tiff")
# Pillow modes whose pixel values are ids: grey of 1, 8, 16 and 32 bits, and palette indices.
_ID_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")
# Formats, and compressions of TIFF, that change values.
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF", "JPEG2000", "jpeg", "tiff_jpeg", "webp")
# Beyond so many colours a file is a picture; so many are shown.
_MOST_COLOURS, _SHOWN_COLOURS = 256, 6
# With more classes nobody writes a table of values on the command line.
_FEW_CLASSES = 8


def read_image(path: ImageFile) -> np.ndarray:
    """Read an image as people see it: EXIF orientation applied.

    Whatever else EXIF holds is not looked at. Of several frames or pages the first is taken, and
    their number logged once.

    Returns:
        (H, W, 3) uint8, RGB. What has more bits is made brighter or darker as a whole, see
        `stseg.data.pixel_values.white_of`.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it is empty, truncated or not an image.
        ValueError: if it is larger than $STSEG_MAX_MEGAPIXELS.
    """
    return read_turned(path)[0]


def read_turned(path: ImageFile) -> tuple[np.ndarray, int]:
    """What `read_image` gives, and the EXIF orientation that the file is stored in."""
    values = None
    try:
        with open_image(path) as image:
            refuse_too_large(image, path, "Image")
            _tell_pages(image, path)
            is_deep = ";16" in raw_modes(image) and image.mode in ("RGB", "RGBA", "LA")
            turn = _decode(image)  # OpenCV would take half a file for a whole one
            left = 1 if image.format == "TIFF" else turn  # which are turned by their decoders
            if is_deep:
                values = _deep_values(path)
            elif image.mode.startswith(("I", "F")):
                _tell_range(np.asarray(image), path)
            if values is None:
                return as_seen(image, left), turn
    except BrokenFileError:  # Pillow knows no colours of floats
        values, left, turn = _float_colours(path), 1, 1
        if values is None:
            raise
    _tell_range(values[..., :3], path)
    return deep_as_seen(values, left), turn


def to_rgb(image: Image.Image) -> np.ndarray:
    """Any Pillow image as people see it: orientation applied, transparent parts on white.

    Returns:
        (H, W, 3) uint8, RGB; what has more bits as `read_image` gives it.
    """
    image.load()  # TIFF are turned here, and forget how
    return as_seen(image, orientation_of(image))


def _decode(image: Image.Image) -> int:
    """Read the pixels; gives the orientation that they are stored in."""
    turn = orientation_of(image) if image.format == "TIFF" else 1
    if image.format == "TIFF":  # whose decoder goes through all of EXIF, and trips over what is odd
        exif = image.getexif()
        for tag in [tag for tag in exif if tag != ExifTags.Base.Orientation]:
            del exif[tag]
    image.load()
    return turn if image.format == "TIFF" else orientation_of(image)


def _float_colours(path: ImageFile) -> np.ndarray | None:
    """Those of a TIFF, turned; None where it holds others, or is none that can be read."""
    if kind_instead(path) or suffix_of(path) not in (".tif", ".tiff"):
        return None
    values = _deep_values(path)
    return None if values is None or values.dtype == np.uint8 else values


def _deep_values(path: ImageFile) -> np.ndarray | None:
    """Grey, RGB or RGBA of a file, of whatever type; None where OpenCV cannot read it."""
    import cv2  # scoring label maps needs NumPy and Pillow alone

    try:
        with as_file(path) as file:
            raw = np.frombuffer(file.read(), dtype=np.uint8)
        values = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED) if raw.size else None
    except (OSError, cv2.error):
        return None
    if values is None or values.ndim == 2:
        return values
    colours = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}.get(values.shape[2])
    return None if colours is None else cv2.cvtColor(values, colours)


def _tell_pages(image: Image.Image, path: ImageFile) -> None:
    key = f"pages {path}"
    if not was_told(key) and (count := count_pages(image)) > 1:
        tell_once(
            key,
            f"Image {path}: expected one picture, got {count} frames or pages. The first alone is "
            "used; save the others as images of their own, or as a video.",
        )


def _tell_range(values: np.ndarray, path: ImageFile) -> None:
    white = white_of(values)
    if white not in (255, 65535):
        tell_once(
            f"white {white}",
            f"Image {path}: its values are taken to reach from 0 (black) to {white:.0f} (white); "
            "likewise those of other images that fit in there.",
        )


def image_size(path: str | PathLike[str]) -> tuple[int, int]:
    """(height, width) in pixels of an image as people see it, from its header alone.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it is empty or not an image.
    """
    return size_and_turn(path)[0]


def size_and_turn(path: str | PathLike[str]) -> tuple[tuple[int, int], int]:
    """What `image_size` gives, and the EXIF orientation that the file is stored in."""
    try:
        with open_image(path) as image:
            turn = orientation_of(image)
            if image.format == "TIFF" and swaps_sides(turn):
                _decode(image)  # turns it; the size alone is turned before or after
                return (image.height, image.width), turn
            width, height = image.size
    except BrokenFileError:
        values = _float_colours(path)
        if values is None:
            raise
        return (values.shape[0], values.shape[1]), 1
    return ((width, height) if swaps_sides(turn) else (height, width)), turn


def _open_ids(path: str | PathLike[str], what: str) -> Image.Image:
    """Open and decode a file whose values are data, not a picture.

    Raises:
        ValueError: if it is compressed with loss, stretched, or holds several pages.
    """
    with open_image(path, what) as image:
        refuse_too_large(image, path, what)
        kinds = {image.format, image.info.get("compression")}
        kind = next((kind for kind in kinds if kind in _LOSSY), None)
        pages = 1 if kind else count_pages(image)
        raw = raw_modes(image)
        is_stretched = image.mode == "L" and (";2" in raw or ";4" in raw)
        if not (kind or pages > 1 or is_stretched):
            _decode(image)
            return image
    if kind:
        raise ValueError(
            f"{what} {path}: expected a file without loss, got one compressed as "
            f"{kind.removeprefix('tiff_').upper()}, whatever its suffix, which changes ids. Save "
            "the original as PNG."
        )
    if pages > 1:
        raise ValueError(
            f"{what} {path}: expected one map, got {pages} frames or pages. Save the one that is "
            "meant."
        )
    raise ValueError(
        f"{what} {path}: expected grey of 8 or 16 bits, got 2 or 4 bits, which readers stretch "
        "to 0..255, so that the ids are lost. Save it as grey of 8 bits or with a palette."
    )


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
        ValueError: if it holds no colours, or has lost some in compression.
    """
    image = _open_ids(path, what)
    if image.mode not in ("RGB", "RGBA"):
        raise ValueError(f"{what} {path}: expected colours of 8 bits, got mode {image.mode}.")
    return np.array(image)[..., :3]


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
        ValueError: if it holds colours, grey of 2 or 4 bits or several pages, or has lost ids in
            compression.
    """
    return _stored_ids(path, what).astype(np.int64)


def _stored_ids(path: str | PathLike[str], what: str) -> np.ndarray:
    """What `read_ids` returns, in the type that Pillow chose."""
    image = _open_ids(path, what)
    if image.mode not in _ID_MODES:
        raise ValueError(
            f"{what} {path}: expected one 8- or 16-bit id per pixel (grey or palette), got "
            f"mode {image.mode}{_colours_in(image)}"
        )
    return np.array(image)


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
    image = _open_ids(path, what)
    if image.mode not in ("1", "L", "P", "RGB", "RGBA"):
        raise ValueError(f"{what} {path}: expected colours of 8 bits, got mode {image.mode}.")
    red, green, blue = np.moveaxis(np.array(image.convert("RGB")).astype(np.int32), 2, 0)
    return (red << 16) + (green << 8) + blue


def read_label(
    path: str | PathLike[str],
    num_classes: int,
    ignore_labels: Sequence[int],
    label_ids: Sequence[int] | None = None,
    dtype: type[np.signedinteger] = np.int64,
    withheld_by: str = "",
) -> np.ndarray:
    """Read a label map of 8 or 16 bits without loss.

    Args:
        path: grey or palette PNG or TIFF; the palette index is the id.
        num_classes: ids 0 .. num_classes - 1 are classes.
        ignore_labels: ids in the file that carry no class.
        label_ids: for every id in the file from 0 on the class it stands for, or `IGNORE_LABEL`;
            by default ids are classes.
        dtype: of the result; 16 bits are read several times as fast as 64.
        withheld_by: zero-shot split that the map was written for, "" for none: ids that `label_ids`
            gives no class are those of unseen classes, and refused.

    Returns:
        (H, W) of `dtype` in [0, num_classes), `IGNORE_LABEL` where the file holds one of
        `ignore_labels`.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it cannot be decoded.
        ValueError: if it does not hold ids (see `read_ids`), or one that is neither a class nor
            ignored, or one of an unseen class where they are withheld.
    """
    ids = _stored_ids(path, "Label map")
    num_ids = num_classes if label_ids is None else len(label_ids)
    outside = (ids < 0) | (ids >= num_ids) if ids.dtype.kind == "i" else ids >= num_ids
    # Most maps hold few ignored ids: comparing with each is faster than a table of all ids.
    ignored = [ids == i for i in ignore_labels]
    for mask in ignored:
        outside &= ~mask
    if outside.any():
        if withheld_by:
            raise _unseen_error(path, ids[outside], num_classes, withheld_by)
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
    if withheld_by:
        unseen = (label == IGNORE_LABEL) & ~np.logical_or.reduce(ignored)
        if unseen.any():
            raise _unseen_error(path, ids[unseen], num_classes, withheld_by)
    return label


def _unseen_error(path: str | PathLike[str], ids: np.ndarray, count: int, split: str) -> ValueError:
    """For ids of none of the `count` seen classes in a map that was written for a split."""
    return ValueError(
        f"Label map {path}: expected ids of the {count} classes that zero-shot split {split} calls "
        f"seen, got {some_of(np.unique(ids), 8)}: training must never meet an unseen class. Write "
        "the maps of the split anew, `stseg data verify` lists those that are wrong; or move their "
        "folder away, for maps of all classes do as well: what they hold of unseen ones is "
        "ignored. See datasets/README.md."
    )


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
