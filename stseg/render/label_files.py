"""The files of a segmentation: label PNG, JSON table, and pictures of them."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stseg.render.captions import named_overlay
from stseg.render.colours import UNKNOWN_COLOUR, class_colours
from stseg.render.label_table import FORMAT, ClassCounts, label_encoding
from stseg.render.overlay import check_image, draw_overlay
from stseg.render.pixels import bands, image_bytes, open_any_size
from stseg.utils import IGNORE_LABEL, MARK, as_bytes, parse_json, write_atomically

_JPEG_SIDE = 65_000  # a JPEG can hold 65535
#: What `Segmentation.save` can write.
SAVED_KINDS = ("labels", "json", "overlay", "legend", "confidence")


class Answer(Protocol):
    """What is saved, see `stseg.structures.Segmentation`."""

    @property
    def label_map(self) -> np.ndarray:
        """(H, W) int32 class ids."""
        ...

    @property
    def confidence(self) -> np.ndarray:
        """(H, W) float32 in [0, 1]."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """By class id."""
        ...

    @property
    def image(self) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB."""
        ...


def save_segmentation(
    segmentation: Answer,
    directory: Path,
    stem: str,
    image: np.ndarray | None,
    kinds: Sequence[str] | None,
) -> list[Path]:
    """Write what `Segmentation.save` promises; no file is ever half written.

    Raises:
        ValueError: if the stem is not a plain file name, a kind is unknown, or the image has
            another size.
        FileExistsError: if a file of such a name is there and is none of a segmentation.
    """
    if not stem or stem != Path(stem).name or "\\" in stem:
        raise ValueError(f"File stem: expected a plain name without folders, got {stem!r}.")
    image = segmentation.image if image is None else image
    if kinds is None:
        kinds = ("labels", "json") if image is None else ("labels", "json", "overlay")
    files = _files(segmentation, stem, image, kinds)
    directory.mkdir(parents=True, exist_ok=True)
    check_names(directory, stem, list(files))
    for name, content in files.items():
        write_atomically(directory / name, content)
    return [directory / name for name in files]


def _files(
    segmentation: Answer, stem: str, image: np.ndarray | None, kinds: Sequence[str]
) -> dict[str, bytes]:
    """Content by name of file."""
    strange = [kind for kind in kinds if kind not in SAVED_KINDS]
    if strange or isinstance(kinds, str):
        raise ValueError(
            f"Kinds to save: expected a list out of {', '.join(SAVED_KINDS)}, got {kinds!r}."
        )
    labels, names = segmentation.label_map, segmentation.names
    if image is not None:
        check_image(image, labels)
    files = {}
    confidence = f"{stem}_confidence.png" if "confidence" in kinds else None
    if "labels" in kinds or "json" in kinds:
        files[f"{stem}.png"] = encode_labels(labels, len(names), class_colours(names))
        files[f"{stem}.json"] = table_bytes(describe(segmentation, f"{stem}.png", confidence))
    if "overlay" in kinds:
        files[f"{stem}_overlay.jpg"] = picture_bytes(named_overlay(image, labels, names))
    if "legend" in kinds:
        files[f"{stem}_legend.jpg"] = picture_bytes(draw_overlay(image, labels, names))
    if confidence is not None:
        levels = np.empty(labels.shape, dtype=np.uint8)
        for rows in bands(labels.shape):
            levels[rows] = (255 * segmentation.confidence[rows]).round()
        made_by = PngInfo()
        made_by.add_text("Software", MARK.decode())
        files[confidence] = image_bytes(levels, "PNG", pnginfo=made_by)
    return files


def picture_bytes(pixels: np.ndarray) -> bytes:
    """A JPEG that bears our mark; what is too long for one is made smaller."""
    height, width = pixels.shape[:2]
    if max(height, width) > _JPEG_SIDE:  # of a line scan, say
        scale = _JPEG_SIDE / max(height, width)
        size = max(1, int(width * scale)), max(1, int(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return image_bytes(pixels, "JPEG", quality=92, comment=MARK)


def check_names(directory: Path, stem: str, names: list[str]) -> None:
    """Refuse to write over what no segmentation left: the photograph `<stem>.png` itself, say."""
    table = directory / f"{stem}.json"
    if table.is_file() and FORMAT.encode() in table.read_bytes()[:200]:
        return
    paths = [directory / name for name in names]
    strange = next((path for path in paths if _is_strange(path, stem)), None)
    if strange is not None:
        raise FileExistsError(
            f"{strange}: expected no file of this name, or one of an earlier segmentation with its "
            "table beside it, got another file. Save into another folder, or by another stem."
        )


def _is_strange(path: Path, stem: str) -> bool:
    """Labels and table without a table of ours, and pictures without our mark."""
    if not path.exists() or path.stem == stem:
        return path.exists()
    with open(path, "rb") as file:
        return MARK not in file.read(4096)


def describe(
    segmentation: Answer, label_file: str, confidence_file: str | None = None
) -> dict[str, Any]:
    """What the JSON holds, see `ClassCounts.table`."""
    counts = ClassCounts(segmentation.names)
    counts.add(segmentation.label_map, segmentation.confidence)
    return counts.table(segmentation.label_map.shape, label_file, confidence_file)


def encode_labels(labels: np.ndarray, num_classes: int, colours: np.ndarray | None = None) -> bytes:
    """A label map as PNG of 8 or 16 bits, see `label_encoding`.

    Args:
        labels: (H, W) integers in [0, num_classes), IGNORE_LABEL where unknown.
        num_classes: decides the bits per pixel.
        colours: (num_classes, 3) uint8 RGB of a palette for 8 bits: programs that show pictures
            show these, and those that read ids find the same ids as without. None writes grey.

    Raises:
        ValueError: if an id is outside that range, which fewer bits would turn into another.
    """
    bits, unknown_value = label_encoding(num_classes)
    if labels.size and not IGNORE_LABEL <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"Label PNG: expected ids in [{IGNORE_LABEL}, {num_classes - 1}], "
            f"got [{labels.min()}, {labels.max()}]."
        )
    values = labels.astype(np.uint8 if bits == 8 else np.uint16)  # -1 becomes the greatest value
    assert unknown_value == np.iinfo(values.dtype).max
    if colours is None or bits != 8:
        return image_bytes(values, "PNG")
    palette = np.full((256, 3), UNKNOWN_COLOUR, dtype=np.uint8)
    palette[:num_classes] = colours
    picture = Image.fromarray(values)
    picture.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def read_segmentation(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """What `save_segmentation` wrote: label map, confidence and names, see `Segmentation.load`.

    Raises:
        FileNotFoundError: if the JSON or a PNG that it names is missing.
        ValueError: if it is no JSON of a segmentation, or a PNG does not fit it.
    """
    content = _read_table(path)
    try:
        return _read_maps(path, content)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected the whole JSON of a segmentation, got one that lacks a part or has "
            f"it in another form ({error!r}). Save it again."
        ) from error


def _read_maps(
    path: Path, content: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    names = tuple(entry["name"] for entry in content["classes"])
    values = _pixels(path.with_name(content["label_file"]), content).astype(np.int32)
    labels = np.where(values == content["unknown_value"], IGNORE_LABEL, values)
    if labels.max(initial=IGNORE_LABEL) >= len(names):
        raise ValueError(
            f"{path.with_name(content['label_file'])}: expected ids below {len(names)}, as "
            f"{path.name} has classes, got {labels.max()}. Save both again."
        )
    # Files of earlier versions name no confidence.
    if content.get("confidence_file") is not None:
        confidence = _pixels(path.with_name(content["confidence_file"]), content) / np.float32(255)
    else:
        means = [entry["mean_confidence"] or 0 for entry in content["classes"]]
        confidence = np.array([*means, 0], dtype=np.float32)[labels]
    return labels, confidence, names


def _read_table(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: expected the JSON of a segmentation, got {error}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"{path}: expected the JSON that Segmentation.save wrote ({FORMAT}), got another."
        )
    return content


def _pixels(path: Path, content: Mapping[str, Any]) -> np.ndarray:
    """(H, W) of the PNG, as the JSON states the size."""
    with open_any_size(path) as picture:
        pixels = np.asarray(picture)
    if pixels.shape != (content["height"], content["width"]):
        raise ValueError(
            f"{path}: expected {content['height']} x {content['width']} (height x width) values, "
            f"as its JSON says, got {pixels.shape}. Save both again."
        )
    return pixels


def table_bytes(content: dict[str, Any]) -> bytes:
    """The JSON as it is written."""
    return as_bytes(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
