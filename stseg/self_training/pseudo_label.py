"""The pseudo-label of one image, and what became of each class on the way to it.

Shapes: H x W pixels of the map, which may be smaller than the image file.
"""

from dataclasses import dataclass

import numpy as np

from stseg.structures import IGNORE_LABEL


@dataclass(frozen=True)
class ClassRecord:
    """What became of one class that the main branch found in an image.

    Attributes:
        class_id: index into the vocabulary.
        name: its display name.
        score: confidence of the class in the image, in [0, 1].
        accepted: whether it passed the gate (and no veto stopped it), or a person gave it.
        reason: why it did not, in words; "" where accepted.
        initial_pixels: pixels the main branch gave it.
        refined_pixels: pixels it has in the pseudo-label.
        predicted_iou: SAM's own estimate for its refined mask; None where SAM was not asked.
        remark: what else became of it, in words, such as "corrected by hand".
    """

    class_id: int
    name: str
    score: float
    accepted: bool
    reason: str
    initial_pixels: int
    refined_pixels: int
    predicted_iou: float | None = None
    remark: str = ""


@dataclass(frozen=True)
class PseudoLabel:
    """Label map that replaces a human's, with its history.

    Attributes:
        label_map: (H, W) int32 class ids, IGNORE_LABEL where no accepted mask lies.
        initial: (H, W) int32, the main branch's class at every pixel; None where it was not kept.
        classes: one record per class that won at least one pixel, or that a person gave.
        weights: (H, W) float32 in [0, 1], how much the label of each pixel counts in training; None
            for 1 everywhere.
    """

    label_map: np.ndarray
    initial: np.ndarray | None
    classes: tuple[ClassRecord, ...]
    weights: np.ndarray | None = None

    @property
    def coverage(self) -> float:
        """Share of the pixels that carry a label, in [0, 1]."""
        return float((self.label_map != IGNORE_LABEL).mean())
