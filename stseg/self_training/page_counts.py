"""How often each class was found and accepted, for reports."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stseg.self_training.pseudo_label import ClassRecord

_REASONS = 2  # in words


@dataclass
class ClassCount:
    """One class over many images.

    Attributes:
        class_id: index into the vocabulary.
        found: images in which the main branch gave it at least one pixel.
        accepted: images in which it passed the gate, or a person gave it.
        initial_pixels: of the main branch, all images together.
        refined_pixels: in the pseudo-labels, all images together.
        best_score: in [0, 1]; None where never found.
        reasons: why it did not pass, with the number of images; reasons that differ in figures
            only count as the first of them.
    """

    class_id: int
    found: int = 0
    accepted: int = 0
    initial_pixels: int = 0
    refined_pixels: int = 0
    best_score: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    _alike: dict[str, str] = field(default_factory=dict)

    def add(self, record: ClassRecord) -> None:
        """Count one image."""
        is_found = record.initial_pixels > 0  # else a person alone gave it
        self.found += is_found
        self.accepted += record.accepted
        self.initial_pixels += record.initial_pixels
        self.refined_pixels += record.refined_pixels
        if is_found:
            self.best_score = max(record.score, self.best_score or 0.0)
        if not record.accepted:
            kind = re.sub(r"\d+", "", record.reason)
            self.reasons[self._alike.setdefault(kind, record.reason)] += 1

    def why_not(self) -> str:
        """The commonest reasons, in words."""
        commonest = self.reasons.most_common(_REASONS)
        words = [f"{reason} and {n - 1} alike" if n > 1 else reason for reason, n in commonest]
        hidden = len(self.reasons) - len(commonest)
        return "; ".join(words) + (f"; and {hidden} more" if hidden else "")


def count_classes(
    records: Iterable[Sequence[ClassRecord]], num_classes: int
) -> tuple[list[ClassCount], int]:
    """Sum up the records of images.

    Returns:
        One count per class, most often accepted first, then most often found; and the number of
        images.
    """
    counts = [ClassCount(i) for i in range(num_classes)]
    images = 0
    for of_image in records:
        images += 1
        for record in of_image:
            counts[record.class_id].add(record)
    return sorted(counts, key=lambda c: (-c.accepted, -c.found, c.class_id)), images
