"""Figures of semantic segmentation out of a confusion matrix. NumPy only.

Every figure is a fraction in [0, 1], or NaN where it is undefined; none is silently 0.
"""

from __future__ import annotations

import logging

import numpy as np

from stseg.evaluation.confusion import ConfusionMatrix, ratio_or_nan

logger = logging.getLogger(__name__)

_UNION = "in the labels or the prediction, as published evaluators count"
#: What each figure means, in the words that go into result files and reports.
DEFINITIONS = {
    "mIoU_gt": "mean IoU over classes in the labels (Detectron2 since July 2022)",
    "mIoU_union": "mean IoU over classes in the labels or the prediction (Detectron2 before, "
    "MMSegmentation); a class predicted and absent counts 0",
    "fwIoU": "IoU weighted by the share of labelled pixels",
    "mACC": "mean recall over classes in the labels",
    "pACC": "share of labelled pixels that are right",
    "absent_loss": "mIoU_gt - mIoU_union: what predicted classes that no label holds cost the mean",
    "absent_pixels": "share of labelled pixels answered with a class that no label holds",
    "seen_mIoU": "mean IoU over seen classes in the labels",
    "unseen_mIoU": "mean IoU over unseen classes in the labels",
    "harmonic_mIoU": "harmonic mean of seen_mIoU and unseen_mIoU",
    "seen_mIoU_union": f"mean IoU over seen classes {_UNION}",
    "unseen_mIoU_union": f"mean IoU over unseen classes {_UNION}",
    "harmonic_mIoU_union": "harmonic mean of seen_mIoU_union and unseen_mIoU_union",
    "interest_mIoU": "mean IoU over the classes of interest in the labels",
    "interest_mIoU_union": f"mean IoU over the classes of interest {_UNION}",
}


def figures(
    matrix: ConfusionMatrix,
    *,
    seen: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> dict[str, float]:
    """The figures of one run.

    Args:
        matrix: of N classes.
        seen: (N,) bool, classes that had masks in training; None leaves those figures out.
        classes: (N,) bool, the classes of interest; None leaves their figure out.

    Returns:
        Names of `DEFINITIONS` in that order, as fractions. All are NaN where no pixel was
        counted. `mIoU_union` is `mIoU_gt * G / U` with G classes in the labels and U in the labels
        or the prediction, so `absent_loss = mIoU_gt * (U - G) / U`: the part of the mean that is
        lost to the bare presence of absent classes. The pixels that they take from the true
        classes lower both means alike; `absent_pixels` is their share. A mean over a side without
        a labelled class is NaN, and so is the harmonic mean then; a warning names the side.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if a mask is not of N classes.
    """
    result = matrix.summary()
    result["absent_loss"] = result["mIoU_gt"] - result["mIoU_union"]
    total = matrix.counts.sum()
    absent = matrix.counts[:, ~matrix.present].sum()
    result["absent_pixels"] = float(absent / total) if total else float("nan")
    if seen is not None:
        seen = _class_mask("seen", seen, matrix)
        for side, mask in (("seen", seen), ("unseen", ~seen)):
            result[f"{side}_mIoU"] = matrix.mean_iou(mask)
            if np.isnan(result[f"{side}_mIoU"]):
                logger.warning(
                    "No %s class occurs in the labels: %s_mIoU and harmonic_mIoU are undefined.",
                    side,
                    side,
                )
        result["harmonic_mIoU"] = harmonic_mean(result["seen_mIoU"], result["unseen_mIoU"])
        sides = [matrix.mean_iou(mask, union=True) for mask in (seen, ~seen)]
        result["seen_mIoU_union"], result["unseen_mIoU_union"] = sides
        result["harmonic_mIoU_union"] = harmonic_mean(*sides)
    if classes is not None:
        mask = _class_mask("classes", classes, matrix)
        result["interest_mIoU"] = matrix.mean_iou(mask)
        result["interest_mIoU_union"] = matrix.mean_iou(mask, union=True)
    return result


def _class_mask(name: str, mask: np.ndarray, matrix: ConfusionMatrix) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"{name}: expected one bool per class, got {mask.dtype}.")
    if mask.shape != (matrix.num_classes,):
        raise ValueError(f"{name}: expected shape ({matrix.num_classes},), got {mask.shape}.")
    return mask


def harmonic_mean(a: float, b: float) -> float:
    """Of two fractions: 0 if both are 0, NaN if either is."""
    if np.isnan(a) or np.isnan(b):
        return float("nan")
    return 2.0 * a * b / (a + b) if a + b else 0.0


def per_class(matrix: ConfusionMatrix) -> dict[str, np.ndarray]:
    """The table of classes.

    Returns:
        (N,) arrays: "iou" and "accuracy" (recall) as float in [0, 1], NaN for classes absent from
        the labels; "precision", NaN for classes never predicted; "truth" and "predicted", int64
        pixels. A class with `truth == 0` and `predicted > 0` counts as IoU 0 in `mIoU_union`.
    """
    hits, predicted = matrix.counts.diagonal(), matrix.counts.sum(axis=0)
    return {
        "iou": matrix.iou(),
        "accuracy": matrix.accuracy(),
        "precision": ratio_or_nan(hits, predicted),
        "truth": matrix.counts.sum(axis=1),
        "predicted": predicted,
    }


def top_confusions(matrix: ConfusionMatrix, k: int) -> list[tuple[int, int, int, float]]:
    """The mistakes that cost most pixels.

    Args:
        matrix: of any number of classes.
        k: how many at most.

    Returns:
        (true class, predicted class, pixels, share of the true class's pixels in (0, 1]), most
        pixels first; ties in the order of the ids.
    """
    true, predicted = np.nonzero(matrix.counts)
    wrong = true != predicted
    true, predicted = true[wrong], predicted[wrong]
    pixels = matrix.counts[true, predicted]
    share = pixels / matrix.counts.sum(axis=1)[true]
    order = np.argsort(-pixels, kind="stable")[:k]  # np.nonzero is in the order of the ids
    return [(int(true[i]), int(predicted[i]), int(pixels[i]), float(share[i])) for i in order]


def fold_background(prediction: np.ndarray, num_labels: int) -> np.ndarray:
    """Let the last label id stand for every class from that id on (VOC-20b).

    The model is asked for more names than the labels have; whatever lies beyond the objects is
    background. VOC-20b asks for the 59 names of PASCAL-Context with the 20 objects first.

    Args:
        prediction: integers of any width, any shape; untouched.
        num_labels: classes in the labels, background last (VOC-20b: 21).

    Returns:
        Ids in [0, num_labels), in the type of `prediction`; negative ids stay.

    Raises:
        TypeError: if the ids are not integers.
    """
    if not np.issubdtype(prediction.dtype, np.integer):
        raise TypeError(f"prediction: expected integer ids, got {prediction.dtype}.")
    return np.minimum(prediction, min(num_labels - 1, np.iinfo(prediction.dtype).max))
