"""What a store keeps beside its label maps: one record per image, and their sum over a round."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stseg.self_training.pseudo_label import ClassRecord


@dataclass(frozen=True)
class ImageRecord:
    """What is known of the pseudo-label of one image without opening its PNG.

    Attributes:
        image: file name.
        height: of the label PNG, which is that of the image, in pixels.
        width: likewise.
        coverage: share of the pixels that carry a label, in [0, 1].
        label_pixels: class id to number of pixels in the PNG; classes without any are left out.
        classes: one record per class that won at least one pixel at first, or was given by hand.
    """

    image: str
    height: int
    width: int
    coverage: float
    label_pixels: dict[int, int]
    classes: tuple[ClassRecord, ...]

    @classmethod
    def of(cls, image: str, labels: np.ndarray, classes: Sequence[ClassRecord]) -> "ImageRecord":
        """Count the pixels of a label map, (H, W) integers with negative values where unknown."""
        counts = np.bincount(labels[labels >= 0].ravel())
        pixels = {int(i): int(counts[i]) for i in np.flatnonzero(counts)}
        coverage = sum(pixels.values()) / max(labels.size, 1)
        height, width = labels.shape
        return cls(image, height, width, coverage, pixels, tuple(classes))

    @classmethod
    def read(cls, path: Path) -> "ImageRecord":
        """Read what `encode` gave.

        Raises:
            ValueError: if the file holds something else.
        """
        try:
            content = json.loads(path.read_bytes())
            content["classes"] = tuple(ClassRecord(**record) for record in content["classes"])
            content["label_pixels"] = {int(i): n for i, n in content["label_pixels"].items()}
            return cls(**content)
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            raise ValueError(
                f"Pseudo-label record {path}: expected what this program wrote, got {e}. "
                "Delete this file; the next run makes the image anew."
            ) from e

    def encode(self) -> bytes:
        """As JSON."""
        return encode_json(asdict(self))


def encode_json(content: Any) -> bytes:
    """Indented JSON in ASCII, because file names need not be valid Unicode."""
    return (json.dumps(content, indent=1) + "\n").encode("ascii")


def passing(records: Iterable[ImageRecord], thresholds: Sequence[float]) -> dict[float, float]:
    """What the gate would let through at other thresholds, before SAM.

    Args:
        records: of all images; read once, one at a time.
        thresholds: in [0, 1].

    Returns:
        Threshold to the share of all pixels, in [0, 1], that went at first to a class scored at or
        above it in its image. Vetoed classes count as never let through.
    """
    # Scores come from float32.
    passed, limits = np.zeros(len(thresholds)), np.float32(thresholds)
    total = 0
    for record in records:
        area = record.height * record.width
        total += area
        # Records count at the size at which labels are made.
        found = sum(item.initial_pixels for item in record.classes)
        for item in record.classes:
            if item.reason != "vetoed":
                passed += (item.score >= limits) * (item.initial_pixels * area / max(found, 1))
    return dict(zip(thresholds, (passed / max(total, 1)).tolist(), strict=True))


def summarise(records: Iterable[ImageRecord], names: Sequence[str]) -> dict[str, Any]:
    """Sum up a round.

    Args:
        records: of all images.
        names: T class names.

    Returns:
        "images", "images_without_labels", "coverage" (share of all pixels that carry a label, in
        [0, 1]), "never_accepted" (names) and "classes": per class "id", "name", "coverage" (share
        of all pixels), "pixels", "images_found" and "images_accepted".
    """
    pixels, found, accepted = (np.zeros(len(names), dtype=np.int64) for _ in range(3))
    images = empty = total = 0
    for record in records:
        images += 1
        empty += not record.label_pixels
        total += record.height * record.width
        for class_id, count in record.label_pixels.items():
            pixels[class_id] += count
        for item in record.classes:
            found[item.class_id] += item.initial_pixels > 0
            accepted[item.class_id] += item.accepted
    return {
        "images": images,
        "images_without_labels": empty,
        "coverage": float(pixels.sum() / max(total, 1)),
        "never_accepted": [name for i, name in enumerate(names) if not accepted[i]],
        "classes": [
            {
                "id": i,
                "name": name,
                "coverage": float(pixels[i] / max(total, 1)),
                "pixels": int(pixels[i]),
                "images_found": int(found[i]),
                "images_accepted": int(accepted[i]),
            }
            for i, name in enumerate(names)
        ],
    }
