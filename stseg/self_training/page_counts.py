"""How often each class was found and accepted, for reports."""

import re
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
        reasons: why it did not pass, as a kind, with the number of images and an example; reasons
            that differ in figures only are of one kind.
    """

    class_id: int
    found: int = 0
    accepted: int = 0
    initial_pixels: int = 0
    refined_pixels: int = 0
    best_score: float | None = None
    reasons: dict[str, tuple[int, str]] = field(default_factory=dict)

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
            self._refuse(re.sub(r"\d+", "", record.reason), 1, record.reason)

    def merge(self, other: "ClassCount") -> None:
        """Add what was counted over other images; in whatever order, the sum is the same."""
        self.found += other.found
        self.accepted += other.accepted
        self.initial_pixels += other.initial_pixels
        self.refined_pixels += other.refined_pixels
        if other.best_score is not None:
            self.best_score = max(other.best_score, self.best_score or 0.0)
        for kind, (images, example) in other.reasons.items():
            self._refuse(kind, images, example)

    def _refuse(self, kind: str, images: int, example: str) -> None:
        before, earlier = self.reasons.get(kind, (0, example))
        self.reasons[kind] = before + images, min(earlier, example)

    def why_not(self) -> str:
        """The commonest reasons, in words."""
        ranked = sorted(self.reasons.values(), key=lambda counted: (-counted[0], counted[1]))
        words = [f"{text} and {n - 1} alike" if n > 1 else text for n, text in ranked[:_REASONS]]
        hidden = len(ranked) - len(words)
        return "; ".join(words) + (f"; and {hidden} more" if hidden else "")


def count_classes(
    records: Iterable[Sequence[ClassRecord]], num_classes: int
) -> tuple[list[ClassCount], int]:
    """Sum up the records of images.

    Returns:
        One count per class, by its id; and the number of images.
    """
    counts = [ClassCount(i) for i in range(num_classes)]
    images = 0
    for of_image in records:
        images += 1
        for record in of_image:
            counts[record.class_id].add(record)
    return counts, images


def by_frequency(counts: Iterable[ClassCount]) -> list[ClassCount]:
    """Most often accepted first, then most often found."""
    return sorted(counts, key=lambda c: (-c.accepted, -c.found, c.class_id))
