"""Do confidences keep their word? Calibration error and risk against coverage. NumPy only.

Pixels go into fine bins as they come; memory does not depend on the number of images. Sums are
whole numbers, so that order and splits change nothing at all.
"""

from __future__ import annotations

import numpy as np

# Confidences are summed in steps of 2 ** -24, the grid of float32 just below 1: exact in int64 for
# 5e11 pixels a bin.
_STEPS = 1 << 24
# Where confidences saturate most pixels lie in the first or the last bin. Both are cut finer, by
# distances from 0 and 1 that fall by 2 ** (-1 / 8) each, down to one step.
_CUTS_PER_OCTAVE = 8
# Rounding of half-precision softmax may end a little above 1.
_SLACK = 1e-3


class ConfidenceHistogram:
    """Pixels, right pixels and confidence by bin of confidence.

    Bin b holds confidences in [b / B, (b + 1) / B), the last also 1.

    Attributes:
        pixels: (B,) int64.
        correct: (B,) int64, those of them that are right.
        steps: (B,) int64, sum of their confidences in units of 2 ** -24.
        ends_pixels: (2 K,) int64, pixels of bin 0 in K finer ones, then those of the last bin,
            each in rising order.
        ends_correct: likewise.
    """

    def __init__(self, bins: int = 3000) -> None:
        """Start with zeros.

        Args:
            bins: B. Calibration error can be asked for with any divisor of it.
        """
        if bins < 1:
            raise ValueError(f"bins: expected at least 1, got {bins}.")
        self.bins = bins
        self.pixels, self.correct, self.steps = np.zeros((3, bins), dtype=np.int64)
        octaves = max(0.0, np.log2(_STEPS / bins))
        self._cuts = int(np.ceil(_CUTS_PER_OCTAVE * octaves)) + 1
        self.ends_pixels, self.ends_correct = np.zeros((2, 2 * self._cuts), dtype=np.int64)

    def update(
        self, confidence: np.ndarray, correct: np.ndarray, name: str = "Confidences"
    ) -> None:
        """Count pixels.

        Args:
            confidence: floats in [0, 1], any shape; leave ignored pixels out.
            correct: bool, same shape.
            name: of the image, for messages.

        Raises:
            TypeError: if `confidence` is not of floats or `correct` not of bools.
            ValueError: if shapes differ or a confidence is outside [0, 1] or NaN.
        """
        if not np.issubdtype(confidence.dtype, np.floating):
            raise TypeError(f"{name}: expected floats, got {confidence.dtype}.")
        if correct.dtype != np.bool_:
            raise TypeError(f"{name}: expected bools for what is right, got {correct.dtype}.")
        if confidence.shape != correct.shape:
            raise ValueError(
                f"{name}: expected confidence and correct of one size, got {confidence.shape} and "
                f"{correct.shape}."
            )
        values, right = confidence.ravel().astype(np.float64), correct.ravel()
        if values.size and not (values.min() >= 0 and values.max() <= 1 + _SLACK):
            raise ValueError(
                f"{name}: expected confidences in [0, 1], got {values.min()} to {values.max()}. "
                "Give probabilities, not logits."
            )
        values = np.minimum(values, 1.0)
        at = np.minimum((values * self.bins).astype(np.int64), self.bins - 1)
        self.pixels += np.bincount(at, minlength=self.bins)
        self.correct += np.bincount(at[right], minlength=self.bins)
        # Weighted counts are float64, exact up to 2 ** 53 steps: half a billion pixels at once.
        steps = np.bincount(at, weights=np.rint(values * _STEPS), minlength=self.bins)
        self.steps += steps.astype(np.int64)
        last = at == self.bins - 1
        self._count_end(self._cuts + self._cut(1.0 - values[last]), right[last])
        if self.bins > 1:
            first = at == 0
            self._count_end(self._cuts - 1 - self._cut(values[first]), right[first])

    def _cut(self, distance: np.ndarray) -> np.ndarray:
        """(n,) int64 in [0, K): how near a confidence lies to its end of [0, 1], the last nearest.

        Args:
            distance: from it, floats in [0, 1 / B].
        """
        depth = -_CUTS_PER_OCTAVE * np.log2(np.maximum(distance, 0.5 / _STEPS) * self.bins)
        return np.clip(depth, 0, self._cuts - 1).astype(np.int64)

    def _count_end(self, at: np.ndarray, right: np.ndarray) -> None:
        self.ends_pixels += np.bincount(at, minlength=len(self.ends_pixels))
        self.ends_correct += np.bincount(at[right], minlength=len(self.ends_correct))

    def merge(self, other: ConfidenceHistogram) -> None:
        """Add the counts of another histogram of as many bins.

        Raises:
            ValueError: if the numbers of bins differ.
        """
        if other.bins != self.bins:
            raise ValueError(f"Confidences: expected {self.bins} bins, got {other.bins}.")
        self.pixels += other.pixels
        self.correct += other.correct
        self.steps += other.steps
        self.ends_pixels += other.ends_pixels
        self.ends_correct += other.ends_correct

    def ece(self, bins: int = 15) -> float:
        """Expected calibration error (Guo et al., ICML 2017) with bins of equal width.

        Args:
            bins: how many; a divisor of the histogram's own, so that the figure is exact.

        Returns:
            Mean gap between confidence and accuracy, weighted by pixels, in [0, 1]; NaN without
            pixels.

        Raises:
            ValueError: if `bins` is no divisor.
        """
        if bins < 1 or self.bins % bins:
            raise ValueError(f"bins: expected a divisor of {self.bins}, got {bins}.")
        total = self.pixels.sum()
        if not total:
            return float("nan")
        correct, steps = (a.reshape(bins, -1).sum(axis=1) for a in (self.correct, self.steps))
        return float(np.abs(steps / _STEPS - correct).sum() / total)

    def temperature(self) -> float:
        """The T under which sigmoid(logit(confidence) / T) has the least log loss (Guo et al.).

        Returns:
            T in [0.05, 20]; above 1 where the pixels' best classes are right less often than told.

        Raises:
            ValueError: without pixels.
        """
        filled = self.pixels > 0
        if not filled.any():
            raise ValueError("Temperature: expected labelled pixels, got none.")
        pixels, correct = self.pixels[filled], self.correct[filled]
        told = np.clip(self.steps[filled] / _STEPS / pixels, 1e-6, 1 - 1e-6)
        logits = np.log(told) - np.log1p(-told)
        low, high = 0.05, 20.0  # of 1 / T: the loss is convex in it, its slope rises
        for _ in range(60):
            middle = (low * high) ** 0.5
            said = 1 / (1 + np.exp(-middle * logits))
            if (logits * (pixels * said - correct)).sum() > 0:
                high = middle
            else:
                low = middle
        return float(1 / middle)

    def risk_coverage(self) -> tuple[np.ndarray, np.ndarray]:
        """Share of errors among the most confident pixels (Geifman and El-Yaniv, NeurIPS 2017).

        Returns:
            Coverage, rising to 1, and risk at it, in [0, 1]; one point per bin that holds pixels,
            the finer ones of the ends included, the most confident first. Empty without pixels.
        """
        pixels, correct = (
            np.concatenate([ends[: self._cuts], uniform[1:-1], ends[self._cuts :]])[::-1]
            for ends, uniform in (
                (self.ends_pixels, self.pixels),
                (self.ends_correct, self.correct),
            )
        )
        filled = pixels > 0
        kept = np.cumsum(pixels[filled])
        wrong = kept - np.cumsum(correct[filled])
        return kept / max(1, self.pixels.sum()), wrong / kept

    def aurc(self) -> float:
        """Area under the risk-coverage curve, in [0, 1]; lower is better, NaN without pixels.

        Between two points the risk is taken as a straight line, and as level before the first: the
        order of pixels within a bin is not known.
        """
        coverage, risk = self.risk_coverage()
        if not coverage.size:
            return float("nan")
        widths = np.diff(coverage, prepend=0.0)
        return float((widths * (risk + np.concatenate([risk[:1], risk[:-1]])) / 2).sum())
