"""What the main branch is sure of: initial masks and the class gate (STSeg, section 2.3).

Only classes scored at or above a threshold (0.9 in the paper) become prompts. Ours: the score of a
class is the highest probability of it over the pixels that it wins (over all pixels a class would
pass by those of its synonym, with a mask of which it is not sure), or the mean there; pixels of
which the branch is less sure than a floor are left out; and thresholds may be lowered per class to
a quantile of its scores over the images, as in class-balanced self-training (CBST, ECCV 2018), so
that hard classes are not left out.

Shapes: T classes, H x W pixels.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stseg.config import SHARE, check
from stseg.structures import IGNORE_LABEL


@dataclass(frozen=True, eq=False)
class InitialMasks:
    """The main branch's answer for one image.

    Attributes:
        label_map: (H, W) int32, the most probable class; the lower id where two are equal.
        confidence: (H, W) float32, its probability.
        scores: (T,) float32, one per class; 0 where a class wins no pixel, but for "max" scoring.
    """

    label_map: np.ndarray
    confidence: np.ndarray
    scores: np.ndarray

    def above(self, floors: np.ndarray) -> np.ndarray:
        """The label map, IGNORE_LABEL where the confidence is below the floor (T,) of its class."""
        return np.where(self.confidence >= floors[self.label_map], self.label_map, IGNORE_LABEL)


@dataclass(frozen=True)
class GateDecision:
    """Whether one class of one image becomes a prompt.

    Attributes:
        class_id: index into the vocabulary.
        score: of the class in the image, in [0, 1].
        threshold: that it was held against.
        pixels: that the class won.
        accepted: whether it passed.
        reason: why it did not, in words; "" where accepted.
    """

    class_id: int
    score: float
    threshold: float
    pixels: int
    accepted: bool
    reason: str


@torch.no_grad()
def initial_masks(probs: Tensor, scoring: str = "won") -> InitialMasks:
    """Read the initial masks and class scores off the main branch's probabilities.

    Args:
        probs: (T, H, W) in [0, 1], any float type, on any device.
        scoring: "won" (highest probability of the class over the pixels that it wins), "max"
            (anywhere) or "mean" (over the pixels that it wins).

    Raises:
        ValueError: for another scoring, or probabilities that are not (T, H, W) with T >= 1.
        FloatingPointError: if a probability is not finite.
    """
    check("SELF_TRAINING.GATE.SCORING", scoring)
    if probs.ndim != 3 or probs.numel() == 0:
        raise ValueError(f"Probabilities: expected (T, H, W), got {tuple(probs.shape)}.")
    probs = probs.float()
    confidence = probs.amax(0)
    if not bool(torch.isfinite(confidence).all()):
        raise FloatingPointError(
            "Probabilities: expected finite numbers, got NaN or infinity. Check the weights."
        )
    # NOTE: the first of equals, on every device; torch.argmax promises no order.
    labels = (probs == confidence).to(torch.uint8).argmax(0)
    flat = labels.flatten()
    if scoring == "max":
        scores = probs.amax((1, 2))
    elif scoring == "won":
        scores = probs.new_zeros(len(probs)).scatter_reduce_(0, flat, confidence.flatten(), "amax")
    else:
        pixels = torch.bincount(flat, minlength=len(probs))
        sums = torch.bincount(flat, confidence.flatten().double(), minlength=len(probs))
        scores = (sums / pixels.clamp(min=1)).float()
    return InitialMasks(
        labels.to(torch.int32).cpu().numpy(), confidence.cpu().numpy(), scores.cpu().numpy()
    )


def class_thresholds(
    scores_per_class: Sequence[Sequence[float]], thresh: float, quantile: float | None = None
) -> np.ndarray:
    """Threshold of each class, never above `thresh`.

    Args:
        scores_per_class: T lists, the scores of the class in the images where it won a pixel.
        thresh: the common threshold in [0, 1].
        quantile: in [0, 1]: a class's threshold is the lower of `thresh` and this quantile of its
            scores (0.8 lets at least its best fifth pass). None, or a class without scores:
            `thresh` alone.

    Returns:
        (T,) float32.

    Raises:
        ValueError: for a threshold or a quantile outside [0, 1].
    """
    check("SELF_TRAINING.GATE.THRESH", thresh)
    if quantile is not None:
        # Wider than the key, where 0 stands for none.
        if not SHARE.is_good(quantile):
            raise ValueError(f"GATE.QUANTILE: expected {SHARE.text}, got {quantile!r}.")
    thresholds = np.full(len(scores_per_class), thresh, np.float32)
    if quantile is not None:
        for class_id, scores in enumerate(scores_per_class):
            if len(scores):
                # "lower" is a score that occurs, so that an image stands at the threshold itself.
                values = np.asarray(scores, np.float32)
                own = np.quantile(values, quantile, method="lower")
                thresholds[class_id] = min(thresholds[class_id], own)
    return thresholds


def floors_of(thresholds: np.ndarray, min_pixel: float) -> np.ndarray:
    """(T,) least confidence of a pixel of each class: `min_pixel`, or a threshold that is lower."""
    return np.minimum(thresholds, np.float32(min_pixel))


def gate(
    initial: InitialMasks,
    thresholds: np.ndarray,
    vetoed: Collection[int] = (),
    min_pixel: float = 0.0,
) -> tuple[GateDecision, ...]:
    """Decide on every class that wins at least one pixel, in order of class id.

    Args:
        initial: of one image.
        thresholds: (T,); a class passes with a score at or above its own.
        vetoed: class ids that a person ruled out.
        min_pixel: see `floors_of`; a class with no such pixel does not pass.

    Raises:
        ValueError: if the thresholds are not one per class.
    """
    if len(thresholds) != len(initial.scores):
        raise ValueError(
            f"Gate thresholds: expected one for each of {len(initial.scores)} classes, "
            f"got {len(thresholds)}."
        )
    pixels = np.bincount(initial.label_map.ravel(), minlength=len(initial.scores))
    has_sure = np.isin(np.arange(len(pixels)), initial.above(floors_of(thresholds, min_pixel)))
    decisions = []
    for class_id in np.flatnonzero(pixels).tolist():
        score, threshold = float(initial.scores[class_id]), float(thresholds[class_id])
        reason = ""
        if class_id in vetoed:
            reason = "vetoed"
        elif score < threshold:
            reason = f"score {below(score, threshold)}"
        elif not has_sure[class_id]:
            reason = f"no pixel of {min_pixel:g} or more"
        decisions.append(
            GateDecision(class_id, score, threshold, int(pixels[class_id]), not reason, reason)
        )
    return tuple(decisions)


def below(score: float, threshold: float) -> str:
    """Two decimals, or more where the two would read the same."""
    for digits in (2, 4, 6):
        texts = f"{score:.{digits}f}", f"{threshold:.{digits}f}"
        if texts[0] != texts[1]:
            break
    return " below ".join(texts)
