"""What a store keeps beside its label maps: one record per image."""

import json
from collections.abc import Sequence
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
