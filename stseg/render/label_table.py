"""The JSON table of a segmentation: how to read its labels, and what each class covers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stseg.render.colours import class_colours, hex_colour
from stseg.render.overlay import class_pixels
from stseg.render.pixels import bands

FORMAT, FORMAT_VERSION = "stseg.segmentation", 1


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


class ClassCounts:
    """What is counted of an answer, which may come in parts.

    Attributes:
        names: T class names.
        pixels: (T,) of each class.
        sums: (T,) of their confidences.
        total: of all pixels, with those unknown.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Begin with none."""
        self.names = tuple(names)
        self.pixels = np.zeros(len(names), dtype=np.int64)
        self.sums = np.zeros(len(names))
        self.total = 0

    def add(self, labels: np.ndarray, confidence: np.ndarray) -> None:
        """Count a part.

        Args:
            labels: (h, W) class ids, negative where unknown.
            confidence: (h, W) in [0, 1].
        """
        count = len(self.names)
        self.pixels += class_pixels(labels, count)
        for rows in bands(labels.shape):
            known = labels[rows] >= 0
            weights = confidence[rows][known]
            self.sums += np.bincount(labels[rows][known], weights, minlength=count)
        self.total += labels.size

    def table(
        self, size: Sequence[int], label_file: str, confidence_file: str | None = None
    ) -> dict[str, Any]:
        """What the JSON holds: how to read the labels; colour, area and confidence per class.

        Shares are of the whole image, in [0, 1]; the mean confidence of a class is null where it
        has no pixel.

        Args:
            size: (height, width) of the image.
            label_file: name of the file beside the JSON.
            confidence_file: likewise, None where there is none.
        """
        total = max(self.total, 1)
        bits, unknown_value = label_encoding(len(self.names))
        colours = class_colours(self.names)
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "width": size[1],
            "height": size[0],
            "label_file": label_file,
            "confidence_file": confidence_file,
            "label_bits": bits,
            "unknown_value": unknown_value,
            "unknown_share": round(float(1 - self.pixels.sum() / total), 6),
            "classes": [
                {
                    "id": i,
                    "name": name,
                    "colour": hex_colour(colours[i]),
                    "pixels": int(count),
                    "area_share": round(float(count / total), 6),
                    "mean_confidence": round(float(total_of / count), 4) if count else None,
                }
                for i, (name, count, total_of) in enumerate(
                    zip(self.names, self.pixels, self.sums, strict=True)
                )
            ],
        }
