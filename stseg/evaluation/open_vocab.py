"""Figures for open vocabularies: credit for near names.

NumPy only. Open mIoU after Zhou et al., "Rethinking Evaluation Metrics of Open-Vocabulary
Segmentation" (TPAMI 2025): "sofa" for "couch" is not as wrong as "sky". How near two names are is
a judgement, so the matrix is an argument here and belongs into the result file.
"""

from __future__ import annotations

from os import PathLike

import numpy as np

from stseg.evaluation.confusion import ConfusionMatrix, mean_or_nan, ratio_or_nan


def open_iou(matrix: ConfusionMatrix, similarity: np.ndarray) -> np.ndarray:
    """IoU of every class with soft hits.

    A pixel of class i answered with j is `S[i, j]` of a hit of i, and the rest, `1 - S[i, j]`, is
    missed by i and false for j. The identity gives the plain IoU; nearer names never lower it.

    Args:
        matrix: of N classes.
        similarity: (N, N) in [0, 1], rows the truth, 1 on the diagonal.

    Returns:
        (N,) in [0, 1]; NaN for classes absent from the labels.

    Raises:
        ValueError: if the shape, a value or the diagonal is off.
    """
    iou = _soft_iou(matrix, similarity)
    return np.where(matrix.present, iou, np.nan)


def _soft_iou(matrix: ConfusionMatrix, similarity: np.ndarray) -> np.ndarray:
    """(N,) in [0, 1]; NaN for classes with neither a pixel in the labels nor a false one."""
    check_similarity(similarity, matrix.num_classes)
    hits = (matrix.counts * similarity).sum(axis=1)
    false = (matrix.counts * (1.0 - similarity)).sum(axis=0)
    return np.minimum(ratio_or_nan(hits, matrix.counts.sum(axis=1) + false), 1.0)


def open_figures(matrix: ConfusionMatrix, similarity: np.ndarray) -> dict[str, float]:
    """Means of `open_iou`; arguments and errors as there.

    Returns:
        "open_mIoU_gt", over the classes in the labels, in [0, 1]; "open_gain", by how much it
        exceeds mIoU_gt; "open_mIoU_union", over those in the prediction, too, unless all that they
        have there is credit. NaN without counted pixels.
    """
    iou = _soft_iou(matrix, similarity)
    mean = mean_or_nan(iou[matrix.present])
    return {
        "open_mIoU_gt": mean,
        "open_gain": mean - matrix.summary()["mIoU_gt"],
        "open_mIoU_union": mean_or_nan(iou[~np.isnan(iou)]),
    }


def check_similarity(similarity: np.ndarray, num_classes: int) -> None:
    """Raise ValueError unless (N, N), in [0, 1] and 1 on the diagonal."""
    if similarity.shape != (num_classes, num_classes):
        raise ValueError(
            f"Similarity: expected shape ({num_classes}, {num_classes}), got {similarity.shape}."
        )
    if not (similarity.min() >= 0 and similarity.max() <= 1):  # also refuses NaN
        raise ValueError(
            f"Similarity: expected values in [0, 1], got {similarity.min()} to {similarity.max()}."
        )
    if not np.allclose(similarity.diagonal(), 1.0, atol=1e-6):
        raise ValueError("Similarity: expected 1 on the diagonal, got a class unlike itself.")


def read_similarity(path: str | PathLike[str], num_classes: int | None = None) -> np.ndarray:
    """Read what `python -m stseg.tools.name_similarity` wrote.

    Args:
        path: .npy file.
        num_classes: N; None leaves the check to who uses it.

    Returns:
        (N, N) in [0, 1].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else; names the file.
    """
    try:
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("several arrays")
        check_similarity(values, len(values) if num_classes is None else num_classes)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected one array of similarities (.npy). {error}") from error
    return values


def similarity(embeddings: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Nearness of names out of their embeddings.

    Args:
        embeddings: (N, C) floats, any length but 0.
        floor: cosine in [0, 1) that counts as unrelated. CLIP's text embeddings of unrelated
            nouns lie well above 0: without a floor every mistake gets credit.

    Returns:
        (N, N) float64 in [0, 1], symmetric, 1 on the diagonal: `(cosine - floor) / (1 - floor)`,
        0 below the floor.

    Raises:
        ValueError: if the shape, a length or the floor is off.
    """
    if embeddings.ndim != 2:
        raise ValueError(f"Embeddings: expected shape (N, C), got {embeddings.shape}.")
    if not 0.0 <= floor < 1.0:
        raise ValueError(f"floor: expected a cosine in [0, 1), got {floor}.")
    vectors = embeddings.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("Embeddings: expected finite vectors of a length above 0.")
    vectors /= lengths
    cosine = vectors @ vectors.T
    result = np.clip((cosine - floor) / (1.0 - floor), 0.0, 1.0)
    result = (result + result.T) / 2
    np.fill_diagonal(result, 1.0)
    return result
