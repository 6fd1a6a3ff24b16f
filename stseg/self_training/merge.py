"""One label map out of the refined masks of several classes (STSeg, section 2.3).

Ours, since the paper does not say it: where masks overlap the higher score x predicted IoU wins,
and pixels that no mask covers are ignored.
"""

from collections.abc import Sequence

import numpy as np

from stseg.structures import IGNORE_LABEL


def merge(
    masks: np.ndarray | Sequence[np.ndarray],
    class_ids: Sequence[int],
    scores: Sequence[float],
    predicted_ious: Sequence[float],
    shape: tuple[int, int],
) -> np.ndarray:
    """Lay the masks over each other, the best on top.

    Args:
        masks: K masks (H, W) bool; none is allowed.
        class_ids: K ids, at least 0.
        scores: K confidences of the gate in [0, 1].
        predicted_ious: K qualities in [0, 1].
        shape: (H, W).

    Returns:
        (H, W) int32, IGNORE_LABEL where no mask lies. Of equals the lower class id wins, whatever
        the order of the masks.

    Raises:
        ValueError: if the numbers of masks, ids, scores and qualities differ, a mask has another
            shape, or an id is negative.
    """
    ids = np.asarray(class_ids, np.int64).reshape(-1)
    strength = np.asarray(scores, np.float64) * np.asarray(predicted_ious, np.float64)
    if not len(masks) == len(ids) == len(scores) == len(predicted_ious):
        raise ValueError(
            "Merge: expected as many masks as class ids, scores and predicted IoUs, "
            f"got {len(masks)}, {len(ids)}, {len(scores)} and {len(predicted_ious)}."
        )
    if len(ids) and ids.min() < 0:
        raise ValueError(f"Merge: expected class ids of at least 0, got {ids.min()}.")
    merged = np.full(shape, IGNORE_LABEL, np.int32)
    # Painted from the weakest to the strongest; of equals the lower id comes last, on top.
    for k in np.lexsort((-ids, strength.reshape(-1))).tolist():
        if masks[k].shape != tuple(shape):
            raise ValueError(f"Merge: expected masks of shape {shape}, got {masks[k].shape}.")
        merged[np.asarray(masks[k], bool)] = ids[k]
    return merged
