"""Confusion matrix and the plain figures of semantic segmentation. NumPy only.

Differs from Detectron2's SemSegEvaluator in nothing but safety: ids are checked instead of
wrapping into other cells, and both definitions of mean IoU in use are reported by name.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np

from stseg.structures import IGNORE_LABEL
from stseg.utils import write_atomically


class ConfusionMatrix:
    """Counts of pixels by (true class, predicted class).

    Attributes:
        counts: (N, N) int64; rows are the truth, columns the prediction.
    """

    def __init__(self, num_classes: int) -> None:
        """Start with zeros.

        Args:
            num_classes: N, at least 1.
        """
        if num_classes < 1:
            raise ValueError(f"num_classes: expected at least 1, got {num_classes}.")
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes), dtype=np.int64)

    def update(
        self,
        prediction: np.ndarray,
        label: np.ndarray,
        ignore: int | Iterable[int] = IGNORE_LABEL,
        name: str = "Confusion matrix",
    ) -> None:
        """Count one image.

        Args:
            prediction: integers of any width in [0, N), any shape.
            label: integers of any width, same shape; class ids or one of `ignore`.
            ignore: id or ids in `label` that are not counted; they may lie outside [0, N).
            name: of the image, for messages.

        Raises:
            TypeError: if either holds other than integers.
            ValueError: if shapes differ or an id is out of range.
        """
        answer, truth, counted = masked_ids(prediction, label, ignore, self.num_classes, name)
        cells = np.bincount((self.num_classes * truth + answer).ravel(), minlength=self.counts.size)
        cells[0] -= counted.size - np.count_nonzero(counted)  # ignored pixels are (0, 0) there
        self.counts += cells.reshape(self.counts.shape)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix of the same classes.

        Raises:
            ValueError: if the numbers of classes differ.
        """
        if other.num_classes != self.num_classes:
            raise ValueError(
                f"Confusion matrix: expected {self.num_classes} classes to merge, got "
                f"{other.num_classes}."
            )
        self.counts += other.counts

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the counts as a compressed .npz; a kill leaves the old file or the new one.

        Args:
            path: local file; its folder exists.
        """
        write_atomically(path, lambda file: np.savez_compressed(file, counts=self.counts))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ConfusionMatrix:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file holds anything else than counts.
        """
        path = os.fspath(path)
        try:
            with open(path, "rb") as file:
                counts = np.load(file, allow_pickle=False)["counts"]
        except (ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(
                f"{path}: expected a file of ConfusionMatrix.save, got another ({error})."
            ) from error
        square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] > 0
        if counts.dtype != np.int64 or not square or counts.min() < 0:
            raise ValueError(
                f"{path}: expected square int64 counts of at least 0, got {counts.dtype} of shape "
                f"{counts.shape}."
            )
        matrix = cls(counts.shape[0])
        matrix.counts += counts
        return matrix

    @property
    def present(self) -> np.ndarray:
        """(N,) bool: classes that occur in the truth."""
        return self.counts.sum(axis=1) > 0

    def iou(self) -> np.ndarray:
        """(N,) float in [0, 1], intersection over union; NaN for classes absent from the truth."""
        return np.where(self.present, self._iou_or_zero(), np.nan)

    def accuracy(self) -> np.ndarray:
        """(N,) float in [0, 1], recall; NaN for classes absent from the truth."""
        return ratio_or_nan(self._hits(), self.counts.sum(axis=1))

    def summary(self) -> dict[str, float]:
        """The figures, as fractions in [0, 1]; NaN where no pixel was counted.

        Returns:
            "mIoU_gt": mean IoU over classes in the truth (Detectron2 since July 2022);
            "mIoU_union": over classes in the truth or the prediction (before, and MMSegmentation);
            "fwIoU": IoU weighted by the share of true pixels; "mACC": mean recall over classes in
            the truth; "pACC": share of pixels that are right.
        """
        truth = self.counts.sum(axis=1)
        iou = self._iou_or_zero()
        union = truth + self.counts.sum(axis=0) - self._hits()
        total = truth.sum()
        return {
            "mIoU_gt": mean_or_nan(iou[truth > 0]),
            "mIoU_union": mean_or_nan(iou[union > 0]),
            "fwIoU": float((iou * truth).sum() / total) if total else float("nan"),
            "mACC": mean_or_nan(self.accuracy()[truth > 0]),
            "pACC": float(self._hits().sum() / total) if total else float("nan"),
        }

    def mean_iou(self, classes: np.ndarray, union: bool = False) -> float:
        """Mean IoU over the chosen classes that occur; NaN if none does.

        Args:
            classes: (N,) bool.
            union: in the truth or the prediction, and not in the truth alone.
        """
        occurs = self.present | (self.counts.sum(axis=0) > 0) if union else self.present
        return mean_or_nan(self._iou_or_zero()[occurs & classes])

    def _hits(self) -> np.ndarray:
        return self.counts.diagonal()

    def _iou_or_zero(self) -> np.ndarray:
        union = self.counts.sum(axis=1) + self.counts.sum(axis=0) - self._hits()
        return np.nan_to_num(ratio_or_nan(self._hits(), union))


def masked_ids(
    prediction: np.ndarray,
    label: np.ndarray,
    ignore: int | Iterable[int],
    num_classes: int,
    name: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check a pair of maps and blank what is ignored.

    Args:
        prediction: integers of any width in [0, N) where not ignored.
        label: integers of any width, same shape.
        ignore: id or ids in `label` that are not counted.
        num_classes: N.
        name: of the image, for messages.

    Returns:
        Prediction and label as int64, 0 where ignored, and where they are counted (bool).

    Raises:
        TypeError: if either holds other than integers.
        ValueError: if shapes differ or an id is out of range.
    """
    for what, ids in (("prediction", prediction), ("label", label)):
        if not isinstance(ids, np.ndarray):
            raise TypeError(
                f"{name}: expected {what} ids as a NumPy array, got {type(ids).__name__}. Convert "
                "a tensor with .cpu().numpy()."
            )
        if not np.issubdtype(ids.dtype, np.integer):
            raise TypeError(f"{name}: expected integer {what} ids, got {ids.dtype}.")
    if prediction.shape != label.shape:
        raise ValueError(
            f"{name}: expected prediction and label of one size, got {prediction.shape} and "
            f"{label.shape}."
        )
    counted = np.ones(label.shape, dtype=np.bool_)
    for value in [ignore] if isinstance(ignore, (int, np.integer)) else ignore:
        counted &= label != int(value)
    # int64 before anything is multiplied: 8 and 16 bits would wrap around.
    truth, answer = (
        np.where(counted, m, 0).astype(np.int64, copy=False) for m in (label, prediction)
    )
    for what, ids in (("label", truth), ("prediction", answer)):
        if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
            outside = np.unique(ids[(ids < 0) | (ids >= num_classes)])[:8]
            raise ValueError(
                f"{name}: expected {what} ids in [0, {num_classes - 1}], got "
                f"{', '.join(map(str, outside.tolist()))}."
                + (" Ids that carry no class are given as `ignore`." if what == "label" else "")
            )
    return answer, truth, counted


def ratio_or_nan(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Quotient, NaN where whole is 0, without NumPy's warning."""
    result = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def mean_or_nan(values: np.ndarray) -> float:
    """Mean of (n,) values, NaN without NumPy's warning if there are none."""
    return float(values.mean()) if values.size else float("nan")
