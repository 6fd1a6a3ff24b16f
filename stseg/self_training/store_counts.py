"""What a round of pseudo-labels adds up to, in whole numbers that every process counts of its part.

Sums of whole numbers do not depend on how images were dealt out, nor on the order of the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stseg.self_training.page_counts import ClassCount
from stseg.self_training.store_records import ImageRecord

#: Thresholds of the gate of which a round tells what they would let through.
OTHER_THRESHOLDS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
_LIMITS = np.float32(OTHER_THRESHOLDS)  # scores come from float32


class RoundCounts:
    """Counts over some images of a round; those of parts add up to those of the whole.

    Attributes:
        classes: T counts, by class id.
        label_pixels: (T,) int64, pixels of each class in the labels.
        total_pixels: of the images, labelled or not.
        total_bytes: of the images' files in the store.
        passed: pixels that each of OTHER_THRESHOLDS would let through before SAM, int64: those that
            went at first to a class scored at or above it in its image and not vetoed.
        labelled: of every image counted, by index, the ids of the classes in its label.
    """

    def __init__(self, num_classes: int) -> None:
        """Nothing is counted yet."""
        self.classes = [ClassCount(i) for i in range(num_classes)]
        self.label_pixels = np.zeros(num_classes, dtype=np.int64)
        self.total_pixels = self.total_bytes = 0
        self.passed = np.zeros(len(OTHER_THRESHOLDS), dtype=np.int64)
        self.labelled: dict[int, tuple[int, ...]] = {}

    @classmethod
    def sum_of(cls, parts: Sequence[RoundCounts]) -> RoundCounts:
        """The counts of all parts together; at least one, and no image in two of them."""
        total = cls(len(parts[0].classes))
        for part in parts:
            for own, other in zip(total.classes, part.classes, strict=True):
                own.merge(other)
            total.label_pixels += part.label_pixels
            total.total_pixels += part.total_pixels
            total.total_bytes += part.total_bytes
            total.passed += part.passed
            total.labelled |= part.labelled
        return total

    def add(self, index: int, record: ImageRecord, size: int) -> None:
        """Count one image, once, whose files hold `size` bytes."""
        self.labelled[index] = tuple(record.label_pixels)
        self.total_pixels += record.height * record.width
        self.total_bytes += size
        for class_id, pixels in record.label_pixels.items():
            self.label_pixels[class_id] += pixels
        # Records count at the size at which labels are made.
        found = max(sum(item.initial_pixels for item in record.classes), 1)
        for item in record.classes:
            self.classes[item.class_id].add(item)
            if item.reason != "vetoed":
                area = record.height * record.width * item.initial_pixels // found
                self.passed += area * (item.score >= _LIMITS)

    def summary(self, names: Sequence[str]) -> dict[str, Any]:
        """In words and shares, for people and JSON.

        Args:
            names: T class names.

        Returns:
            "images", "images_without_labels", "coverage" (share of all pixels that carry a label,
            in [0, 1]), "never_accepted" (names), "passing" (other threshold to the share of all
            pixels, in [0, 1], that it would let through before SAM) and "classes": per class "id",
            "name", "coverage" (share of all pixels), "pixels", "images_found", "images_accepted".
        """
        total = max(self.total_pixels, 1)
        return {
            "images": len(self.labelled),
            "images_without_labels": sum(not ids for ids in self.labelled.values()),
            "coverage": float(self.label_pixels.sum() / total),
            "never_accepted": [names[c.class_id] for c in self.classes if not c.accepted],
            "passing": {
                f"{threshold:g}": float(passed / total)
                for threshold, passed in zip(OTHER_THRESHOLDS, self.passed, strict=True)
            },
            "classes": [
                {
                    "id": count.class_id,
                    "name": name,
                    "coverage": float(pixels / total),
                    "pixels": int(pixels),
                    "images_found": count.found,
                    "images_accepted": count.accepted,
                }
                for name, count, pixels in zip(names, self.classes, self.label_pixels, strict=True)
            ],
        }


def share_of(size: int, rank: int, world_size: int) -> range:
    """Places that one of several processes looks at: a run of at most ceil(size / processes)."""
    return range(size * rank // world_size, size * (rank + 1) // world_size)
