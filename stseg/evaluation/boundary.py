"""How well the outlines fit: boundary IoU and trimap IoU, for any number of classes. NumPy only.

Boundary IoU after Cheng et al., "Boundary IoU" (CVPR 2021): a class's band is its mask minus the
mask eroded by a 3x3 square `distance` times, with nothing outside the image. Detectron2 erodes the
map of ids instead, so an edge between classes 5 and 2 is counted as class 3; and it cannot do 255
classes and more. Here no mask is built at all: a pixel lies in the band of its own class if and
only if the square window of that radius around it holds another class or leaves the image, which
running minima and maxima of the ids tell for all classes at once. Time and memory do not grow
with the classes.

Differs from the paper in ignored pixels, of which it has none: they belong to no class, so they
make no edge, are counted nowhere, and what was predicted there matters nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from stseg.evaluation.confusion import ConfusionMatrix, masked_ids, mean_or_nan, ratio_or_nan
from stseg.structures import IGNORE_LABEL


class BoundaryCounts:
    """Pixels of every class's inner boundary band, in labels, prediction and both.

    Attributes:
        both: (N,) int64, pixels where the bands of label and prediction of one class meet.
        truth: (N,) int64, pixels of the bands in the labels.
        predicted: (N,) int64, pixels of the bands in the prediction.
    """

    def __init__(self, num_classes: int, distance_ratio: float = 0.02) -> None:
        """Start with zeros.

        Args:
            num_classes: N, at least 1.
            distance_ratio: width of the band over the image's diagonal, in (0, 1]; at least one
                pixel is taken.
        """
        if num_classes < 1:
            raise ValueError(f"num_classes: expected at least 1, got {num_classes}.")
        if not 0.0 < distance_ratio <= 1.0:
            raise ValueError(f"distance_ratio: expected in (0, 1], got {distance_ratio}.")
        self.num_classes = num_classes
        self.distance_ratio = distance_ratio
        self.both, self.truth, self.predicted = np.zeros((3, num_classes), dtype=np.int64)

    def update(
        self,
        prediction: np.ndarray,
        label: np.ndarray,
        ignore: int | Iterable[int] = IGNORE_LABEL,
        name: str = "Boundary IoU",
    ) -> None:
        """Count one image.

        Args:
            prediction: (H, W) integers of any width in [0, N).
            label: (H, W) integers of any width; class ids or one of `ignore`.
            ignore: id or ids in `label` that are not counted; they may lie outside [0, N).
            name: of the image, for messages.

        Raises:
            TypeError: if either holds other than integers.
            ValueError: if shapes differ or are not 2-D, or an id is out of range.
        """
        answer, truth, counted = _checked_maps(prediction, label, ignore, self.num_classes, name)
        distance = band_width(truth.shape, self.distance_ratio)
        in_answer = inner_band(answer, counted, distance)
        in_truth = inner_band(truth, counted, distance)
        meet = in_answer & in_truth & (answer == truth)
        for counts, band, ids in (
            (self.both, meet, truth),
            (self.truth, in_truth, truth),
            (self.predicted, in_answer, answer),
        ):
            counts += np.bincount(ids[band], minlength=self.num_classes)

    def merge(self, other: BoundaryCounts) -> None:
        """Add the counts of another object of the same classes and width.

        Raises:
            ValueError: if classes or widths differ.
        """
        ours = (self.num_classes, self.distance_ratio)
        theirs = (other.num_classes, other.distance_ratio)
        if ours != theirs:
            raise ValueError(f"Boundary IoU: expected (classes, ratio) {ours}, got {theirs}.")
        self.both += other.both
        self.truth += other.truth
        self.predicted += other.predicted

    def iou(self) -> np.ndarray:
        """(N,) float in [0, 1]; NaN for classes without a band in the labels."""
        iou = ratio_or_nan(self.both, self.truth + self.predicted - self.both)
        return np.where(self.truth > 0, iou, np.nan)

    def summary(self) -> dict[str, float]:
        """Means as fractions in [0, 1], NaN where no class has a band.

        Returns:
            "boundary_mIoU_gt": over classes with a band in the labels; "boundary_mIoU_union": over
            classes with a band in the labels or the prediction.
        """
        union = self.truth + self.predicted - self.both
        iou = ratio_or_nan(self.both, union)
        return {
            "boundary_mIoU_gt": mean_or_nan(iou[self.truth > 0]),
            "boundary_mIoU_union": mean_or_nan(iou[union > 0]),
        }


class TrimapCounts:
    """Confusion matrices of the pixels close to an edge between labels.

    After Kohli et al., "Robust Higher Order Potentials" (IJCV 2009): a pixel belongs to the band of
    width w if a pixel with another label lies within w rows and w columns of it. Ignored pixels
    make no edge, nor does the image border, so the prediction has no say in what is counted.

    Attributes:
        matrices: one per width, narrow to wide as given.
    """

    def __init__(self, num_classes: int, widths: Sequence[int] = (1, 2, 4, 8, 16)) -> None:
        """Start with zeros.

        Args:
            num_classes: N, at least 1.
            widths: distances to the edge in pixels, each at least 1. Memory is N x N per width.
        """
        if not widths or min(widths) < 1 or len(set(widths)) != len(widths):
            raise ValueError(f"widths: expected different widths of at least 1, got {widths}.")
        self.num_classes = num_classes
        self.widths = tuple(widths)
        self.matrices = tuple(ConfusionMatrix(num_classes) for _ in self.widths)

    def update(
        self,
        prediction: np.ndarray,
        label: np.ndarray,
        ignore: int | Iterable[int] = IGNORE_LABEL,
        name: str = "Trimap IoU",
    ) -> None:
        """Count one image; arguments and errors as in `BoundaryCounts.update`."""
        answer, truth, counted = _checked_maps(prediction, label, ignore, self.num_classes, name)
        for width, matrix in zip(self.widths, self.matrices, strict=True):
            band = counted & ~_is_uniform(truth, counted, width)
            matrix.update(answer[band], truth[band], ignore=(), name=name)

    def merge(self, other: TrimapCounts) -> None:
        """Add the counts of another object of the same classes and widths.

        Raises:
            ValueError: if classes or widths differ.
        """
        if other.widths != self.widths:
            raise ValueError(f"Trimap: expected widths {self.widths}, got {other.widths}.")
        for ours, theirs in zip(self.matrices, other.matrices, strict=True):
            ours.merge(theirs)

    def summary(self) -> dict[str, float]:
        """Of every width w: "trimap_mIoU_gt_<w>" in [0, 1], NaN where no pixel was counted."""
        return {
            f"trimap_mIoU_gt_{width}": matrix.summary()["mIoU_gt"]
            for width, matrix in zip(self.widths, self.matrices, strict=True)
        }


def band_width(shape: tuple[int, ...], distance_ratio: float) -> int:
    """Pixels of a band on an image of (H, W), at least 1; rounded as the paper's code does."""
    return max(1, int(round(distance_ratio * float(np.hypot(shape[0], shape[1])))))


def inner_band(ids: np.ndarray, counted: np.ndarray, distance: int) -> np.ndarray:
    """Pixels within `distance` of another class or of the image's outside.

    Args:
        ids: (H, W) integers.
        counted: (H, W) bool; the others make no edge and lie in no band.
        distance: in pixels along rows or columns, whichever is longer; at least 1.

    Returns:
        (H, W) bool; the band of class c is where this holds and `ids == c`.
    """
    band = ~_is_uniform(ids, counted, distance)
    band[:distance] = band[-distance:] = True
    band[:, :distance] = band[:, -distance:] = True
    return band & counted


def _is_uniform(ids: np.ndarray, counted: np.ndarray, distance: int) -> np.ndarray:
    """(H, W) bool: at most one id among the counted pixels of the window cut off at the border."""
    limits = np.iinfo(ids.dtype)
    lowest = np.where(counted, ids, limits.max)
    highest = np.where(counted, ids, limits.min)
    for axis in (0, 1):
        lowest = _running(np.minimum, lowest, distance, axis, limits.max)
        highest = _running(np.maximum, highest, distance, axis, limits.min)
    return lowest >= highest


def _running(
    extreme: np.ufunc, values: np.ndarray, distance: int, axis: int, neutral: int
) -> np.ndarray:
    """Extreme over windows of 2 * distance + 1 along an axis, by doubling; same shape."""
    reach = max(0, min(distance, values.shape[axis] - 1))  # beyond, windows hold whole lines
    padding = [(0, 0), (0, 0)]
    padding[axis] = (reach, reach)
    values = np.moveaxis(np.pad(values, padding, constant_values=neutral), axis, 0)
    width, wanted = 1, 2 * reach + 1
    while width < wanted:
        step = min(width, wanted - width)
        values = extreme(values[:-step], values[step:])
        width += step
    return np.moveaxis(values, 0, axis)


def _checked_maps(
    prediction: np.ndarray,
    label: np.ndarray,
    ignore: int | Iterable[int],
    num_classes: int,
    name: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `masked_ids` returns, ids as (H, W) int32: half the memory to run over."""
    if label.ndim != 2:
        raise ValueError(f"{name}: expected maps of (H, W), got shape {label.shape}.")
    answer, truth, counted = masked_ids(prediction, label, ignore, num_classes, name)
    return answer.astype(np.int32), truth.astype(np.int32), counted
