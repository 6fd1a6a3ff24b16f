"""Detections of the package supervision, which is imported if it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stseg.exports.labelled import masks


def detections_of(label_map: np.ndarray, confidence: np.ndarray, names: Sequence[str]) -> Any:
    """What `Segmentation.to_detections` gives.

    Raises:
        ImportError: if supervision is not installed.
    """
    try:
        import supervision
    except ModuleNotFoundError as error:
        if error.name != "supervision":
            raise
        raise ImportError(
            "to_detections: expected the package supervision, got none. Install it by pip install "
            "supervision; to_coco and to_polygons need nothing."
        ) from error
    found = dict(masks(label_map))
    ids = np.array(list(found), dtype=np.int64)
    shown = np.array(list(found.values()), dtype=bool).reshape(-1, *label_map.shape)
    return supervision.Detections(
        xyxy=supervision.mask_to_xyxy(shown).astype(np.float32).reshape(-1, 4),
        mask=shown,
        class_id=ids,
        confidence=np.array([confidence[mask].mean() for mask in shown], dtype=np.float32),
        data={"class_name": np.array([names[i] for i in ids], dtype=str)},
    )
