"""What the starting model's dense features say of label maps that came later.

The features are of the start and stay as they are, so they bear witness to the labels: a map that
follows what is seen explains them better. Labels that slip by a few pixels, are mixed up, go by
each other's names in some images or swallow small classes explain them less.

Shapes: N images, L cells of an image, D channels, T classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stseg.self_training.snapshot import UNKNOWN, Snapshot

#: Ridge of the least squares, in cells: a class of fewer hardly has a look of its own.
_RIDGE = 1.0
_FOLDS = 4


@dataclass(frozen=True, eq=False)
class Witness:
    """Dense features of the start.

    Attributes:
        features: N arrays (L, D) float32, of length 1 per cell.
    """

    features: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, start: Snapshot) -> Witness | None:
        """From the start's snapshot; None where it has no features, or of one image only."""
        if start.features is None or len(start.features) < 2:
            return None
        features = []
        for maps in start.features:
            cells = maps.reshape(len(maps), -1).T.astype(np.float32)
            lengths = np.linalg.norm(cells, axis=1, keepdims=True)
            features.append(cells / np.maximum(lengths, 1e-6))
        return cls(tuple(features))

    def unexplained(self, shares: Sequence[np.ndarray]) -> np.ndarray:
        """(N,) float64, the part of all variance that each image's labels leave unexplained.

        Every image is judged by what the others say of the classes: 1 less the sum of it is the
        share of the variance that labels explain, at most 1.

        Args:
            shares: N arrays (L, T), see `class_shares`.
        """
        mean = np.concatenate(self.features).mean(axis=0)
        count = len(self.features)
        left, total = np.zeros(count), 0.0
        for fold in range(min(_FOLDS, count)):
            judged = [k for k in range(count) if k % _FOLDS == fold]
            fitted = [k for k in range(count) if k % _FOLDS != fold]
            looks = _looks([shares[k] for k in fitted], [self.features[k] - mean for k in fitted])
            for k in judged:
                wanted = self.features[k] - mean
                left[k] = float(((wanted - shares[k] @ looks) ** 2).sum())
                total += float((wanted**2).sum())
        return left / max(total, 1e-12)


def class_shares(snapshot: Snapshot, start: Snapshot) -> tuple[np.ndarray, ...]:
    """N arrays (L, T) float32: which part of each of the start's cells a class has."""
    count = len(snapshot.classes)
    shares = []
    for labels, features in zip(snapshot.labels, start.features or (), strict=True):
        rows, columns = features.shape[1:]
        height, width = labels.shape
        cell = (np.arange(height) * rows // height)[:, None] * columns
        cell = cell + (np.arange(width) * columns // width)
        known = labels != UNKNOWN
        places = cell[known] * count + labels[known]
        found = np.bincount(places, minlength=rows * columns * count).astype(np.float32)
        sizes = np.bincount(cell.ravel(), minlength=rows * columns).astype(np.float32)
        shares.append(found.reshape(-1, count) / np.maximum(sizes, 1)[:, None])
    return tuple(shares)


def _looks(shares: Sequence[np.ndarray], features: Sequence[np.ndarray]) -> np.ndarray:
    """(T, D), the features of each class by ridge regression on its shares of the cells."""
    weights, wanted = np.concatenate(shares), np.concatenate(features)
    square = weights.T @ weights + _RIDGE * np.eye(weights.shape[1], dtype=np.float32)
    return np.linalg.solve(square, weights.T @ wanted)
