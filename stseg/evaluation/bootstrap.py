"""How sure is a mean IoU, and is one run better than another? NumPy only.

Poisson bootstrap over images (Chamandy et al., "Estimating uncertainty for massive data streams",
2012): in every replicate an image counts as often as a Poisson(1) draw says. The draw depends on
nothing but the seed and the image's name, so images may come in any order and on any machine,
nothing is kept per image, and two runs with one seed draw the same images, which is what makes the
paired test sharp.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from stseg.evaluation.confusion import ConfusionMatrix, ratio_or_nan

# Chance of at most k for Poisson(1); beyond 20 lies less than float64 can tell from 1.
_POISSON = np.cumsum([math.exp(-1.0) / math.factorial(k) for k in range(21)])


@dataclass(frozen=True)
class PairedTest:
    """Difference of two runs on the same images, first minus second.

    Attributes:
        difference: of mIoU_gt, in [-1, 1].
        low: lower end of its interval.
        high: upper end.
        p_value: two-sided, in (0, 1]: how often a replicate lands on the other side of 0, twice.
            With R replicates it cannot be below 2 / (R + 1).
        floor: that least value; where `p_value` is no more, all that is known is that it is
            below it.
    """

    difference: float
    low: float
    high: float
    p_value: float
    floor: float = 0.0


class Bootstrap:
    """Sums of hits, labels and predictions over resampled images.

    Attributes:
        sums: (R + 1, 3, N) int64; pixels of hits, labels and prediction per class. Row 0 counts
            every image once.
        images: how many were counted.
    """

    def __init__(self, num_classes: int, replicates: int = 200, seed: int = 0) -> None:
        """Start with zeros.

        Args:
            num_classes: N, at least 1.
            replicates: R, at least 1; memory is 24 (R + 1) N bytes.
            seed: the same for runs that are to be compared.
        """
        if num_classes < 1 or replicates < 1:
            raise ValueError(
                "Bootstrap: expected at least 1 class and 1 replicate, got "
                f"{num_classes} and {replicates}."
            )
        self.num_classes = num_classes
        self.replicates = replicates
        self.seed = seed
        self.sums = np.zeros((replicates + 1, 3, num_classes), dtype=np.int64)
        self.images = 0

    def update(self, name: str, matrix: ConfusionMatrix) -> None:
        """Count one image.

        Args:
            name: of the image, the same in every run that is compared: a file's stem, not its
                path. An image given twice counts twice.
            matrix: of this image alone.

        Raises:
            ValueError: if the number of classes differs.
        """
        if matrix.num_classes != self.num_classes:
            raise ValueError(
                f"{name}: expected a matrix of {self.num_classes} classes, got "
                f"{matrix.num_classes}."
            )
        entropy = hashlib.blake2b(f"{self.seed}:{name}".encode(), digest_size=16).digest()
        # Raw bits of a bit generator are the one stream that NumPy promises never to change.
        bits = np.random.PCG64(int.from_bytes(entropy, "little")).random_raw(self.replicates)
        drawn = np.searchsorted(_POISSON, np.asarray(bits) / 2.0**64, side="right")
        weights = np.concatenate([[1], drawn])
        counts = np.stack(
            [matrix.counts.diagonal(), matrix.counts.sum(axis=1), matrix.counts.sum(axis=0)]
        )
        touched = np.flatnonzero(counts[1] + counts[2])
        self.sums[:, :, touched] += weights[:, None, None] * counts[:, touched]
        self.images += 1

    def merge(self, other: Bootstrap) -> None:
        """Add the images of another object with the same classes, replicates and seed.

        Raises:
            ValueError: if one of these differs.
        """
        for name in ("num_classes", "replicates", "seed"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(
                    f"Bootstrap {name}: expected {getattr(self, name)} as in the first, got "
                    f"{getattr(other, name)}."
                )
        self.sums += other.sums
        self.images += other.images

    def means(self) -> np.ndarray:
        """(R + 1,) mIoU_gt in [0, 1], row 0 of all images; NaN where no pixel was drawn."""
        hits, truth, predicted = self.sums.transpose(1, 0, 2)
        present = truth > 0
        union = truth + predicted - hits
        iou = np.where(present, ratio_or_nan(hits, union), 0.0)
        return ratio_or_nan(iou.sum(axis=1), present.sum(axis=1))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of mIoU_gt.

        Args:
            level: share of the replicates inside, in (0, 1).

        Returns:
            Low and high end in [0, 1]; NaN without counted pixels.
        """
        return _percentiles(self.means()[1:], level)


def paired_test(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> PairedTest:
    """Test whether two runs differ, given what `Bootstrap.means` said of each.

    Args:
        first: (R + 1,) means, row 0 of all images; of the same images and seed as the second.
        second: likewise.
        level: of the interval of the difference, in (0, 1).

    Raises:
        ValueError: if the numbers of replicates differ.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"Paired test: expected {len(first) - 1} replicates as in the first, got "
            f"{len(second) - 1}."
        )
    differences = first - second
    drawn = differences[1:][~np.isnan(differences[1:])]
    low, high = _percentiles(drawn, level)
    sides = (int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    floor = min(1.0, 2 / (1 + len(drawn)))
    p_value = min(1.0, floor * (1 + min(sides)))
    return PairedTest(float(differences[0]), low, high, p_value, floor)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: expected in (0, 1), got {level}.")
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
