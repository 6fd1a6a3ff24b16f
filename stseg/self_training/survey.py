"""What the main branch is sure of in all images, before anything is refined.

Quantiles of the gate need it, and so does the online mode, which never sees a round's labels at
once. Shapes: K pairs of an image and a class that wins a pixel of it, T classes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields

import numpy as np

from stseg.self_training.gate import InitialMasks, class_thresholds
from stseg.self_training.store_counts import OTHER_THRESHOLDS


@dataclass(frozen=True, eq=False)
class Survey:
    """Pairs of an image and a class, in no order.

    Attributes:
        images: (K,) int32, index of the image.
        classes: (K,) int32, class id.
        scores: (K,) float32 in [0, 1], see `InitialMasks`.
    """

    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, index: int, initial: InitialMasks) -> Survey:
        """Of one image."""
        won = np.unique(initial.label_map)
        return cls(
            np.full(len(won), index, np.int32),
            won.astype(np.int32),
            initial.scores[won].astype(np.float32),
        )

    @classmethod
    def joined(cls, parts: Iterable[Survey]) -> Survey:
        """Of several surveys."""
        parts = list(parts) or [_EMPTY]
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def thresholds(self, num_classes: int, thresh: float, quantile: float) -> np.ndarray:
        """(T,) float32, see `class_thresholds`; a quantile of 0 is none."""
        per_class = [self.scores[self.classes == c] for c in range(num_classes)]
        return class_thresholds(per_class, thresh, quantile or None)

    def accepted(self, thresholds: np.ndarray, vetoed: Collection[int]) -> Survey:
        """The pairs that pass the gate."""
        kept = self.scores >= thresholds[self.classes]
        kept &= ~np.isin(self.classes, list(vetoed))
        return Survey(*(getattr(self, field.name)[kept] for field in fields(self)))

    def passing(self) -> dict[str, float]:
        """Each of OTHER_THRESHOLDS to the share of the pairs that would pass it, in [0, 1]."""
        limits = np.float32(OTHER_THRESHOLDS)[:, None]
        shares = (self.scores >= limits).sum(axis=1) / max(self.scores.size, 1)
        return {f"{t:g}": share for t, share in zip(OTHER_THRESHOLDS, shares.tolist(), strict=True)}

    def classes_of(self, count: int) -> list[tuple[int, ...]]:
        """The classes of each of `count` images."""
        found: list[list[int]] = [[] for _ in range(count)]
        for image, class_id in zip(self.images.tolist(), self.classes.tolist(), strict=True):
            found[image].append(class_id)
        return [tuple(sorted(ids)) for ids in found]


_EMPTY = Survey(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
