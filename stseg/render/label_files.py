"""The three files of a segmentation: label PNG, JSON table, overlay."""

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stseg.render.overlay import area_shares, draw_overlay
from stseg.render.pixels import image_bytes
from stseg.utils import IGNORE_LABEL, write_atomically

FORMAT, FORMAT_VERSION = "stseg.segmentation", 1


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


def save_segmentation(
    segmentation: Answer, directory: Path, stem: str, image: np.ndarray | None
) -> list[Path]:
    """Write what `Segmentation.save` promises; no file is ever half written.

    Raises:
        ValueError: if the stem is not a plain file name, or the image has another size.
        FileExistsError: if a file of such a name is there and is none of a segmentation.
    """
    if not stem or stem != Path(stem).name or "\\" in stem:
        raise ValueError(f"File stem: expected a plain name without folders, got {stem!r}.")
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        f"{stem}.png": encode_labels(segmentation.label_map, len(segmentation.names)),
        f"{stem}.json": _json(describe(segmentation, f"{stem}.png")),
    }
    if image is not None:
        overlay = draw_overlay(image, segmentation.label_map, segmentation.names)
        files[f"{stem}_overlay.jpg"] = image_bytes(overlay, "JPEG", quality=92)
    _check_names(directory, stem, list(files))
    for name, content in files.items():
        write_atomically(directory / name, content)
    return [directory / name for name in files]


def _check_names(directory: Path, stem: str, names: list[str]) -> None:
    """Refuse to write over what no segmentation left: the photograph `<stem>.png` itself, say."""
    table = directory / f"{stem}.json"
    if table.is_file() and FORMAT.encode() in table.read_bytes()[:200]:
        return
    strange = next((directory / name for name in names if (directory / name).exists()), None)
    if strange is not None:
        raise FileExistsError(
            f"{strange}: expected no file of this name, or one of an earlier segmentation with its "
            "table beside it, got another file. Save into another folder, or by another stem."
        )


def describe(segmentation: Answer, label_file: str) -> dict[str, Any]:
    """What the JSON holds: how to read the PNG, and area and confidence per class.

    Shares are of the whole image, in [0, 1]; the mean confidence of a class is null where it has
    no pixel.
    """
    labels, names = segmentation.label_map, segmentation.names
    known = labels >= 0
    pixels = np.bincount(labels[known], minlength=len(names))
    sums = np.bincount(labels[known], weights=segmentation.confidence[known], minlength=len(names))
    shares = area_shares(labels, len(names))
    bits, unknown_value = label_encoding(len(names))
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "width": labels.shape[1],
        "height": labels.shape[0],
        "label_file": label_file,
        "label_bits": bits,
        "unknown_value": unknown_value,
        "unknown_share": round(float(1 - known.mean()), 6),
        "classes": [
            {
                "id": i,
                "name": name,
                "pixels": int(pixels[i]),
                "area_share": round(float(shares[i]), 6),
                "mean_confidence": round(float(sums[i] / pixels[i]), 4) if pixels[i] else None,
            }
            for i, name in enumerate(names)
        ],
    }


def label_encoding(num_classes: int) -> tuple[int, int]:
    """Bits per pixel of the label PNG, and the value that stands for unknown.

    Raises:
        ValueError: if a 16-bit PNG cannot hold the ids.
    """
    if num_classes < 255:
        return 8, 255
    if num_classes <= 65535:
        return 16, 65535
    raise ValueError(f"Label PNG: expected at most 65535 classes, got {num_classes}.")


def encode_labels(labels: np.ndarray, num_classes: int) -> bytes:
    """A label map as PNG of 8 or 16 bits, see `label_encoding`.

    Args:
        labels: (H, W) integers in [0, num_classes), IGNORE_LABEL where unknown.
        num_classes: decides the bits per pixel.

    Raises:
        ValueError: if an id is outside that range, which fewer bits would turn into another.
    """
    bits, unknown_value = label_encoding(num_classes)
    if labels.size and not IGNORE_LABEL <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"Label PNG: expected ids in [{IGNORE_LABEL}, {num_classes - 1}], "
            f"got [{labels.min()}, {labels.max()}]."
        )
    values = np.where(labels == IGNORE_LABEL, unknown_value, labels)
    return image_bytes(values.astype(np.uint8 if bits == 8 else np.uint16), "PNG")


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
