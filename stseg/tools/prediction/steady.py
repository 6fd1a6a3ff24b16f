"""Labels of a video that change only where other frames agree."""

from __future__ import annotations

import numpy as np

from stseg.structures import Segmentation


class SteadyLabels:
    """An exponential average of what frames say about the label that a pixel has.

    With c the confidence in [0, 1] of a frame's own label, and h how much is held, each frame makes
    of a pixel's evidence

        e <- h e + (1 - h) c    where the frame gives the label that the pixel has,
        e <- h e - (1 - h) c    where it gives another one,

    and where e falls below 0 the pixel takes the frame's label, and -e. A label of old standing so
    gives way after n frames of equal confidence that disagree, h^n < 1/2: 2 for h = 0.7, 4 for
    0.8, 7 for 0.9. Things that move drag their labels behind them for as long. Pixels are compared
    where they lie: nothing follows the camera.
    """

    def __init__(self, hold: float) -> None:
        """Begin before the first frame.

        Args:
            hold: h in [0, 1); 0 changes nothing.

        Raises:
            ValueError: if it is another number.
        """
        if not 0 <= hold < 1:
            raise ValueError(f"--steady: expected a number from 0 to below 1, got {hold}.")
        self._hold = np.float32(hold)
        self._labels: np.ndarray | None = None
        self._evidence = np.empty((0, 0), dtype=np.float32)

    def next(self, frame: Segmentation) -> Segmentation:
        """The steadied answer for the next frame; one of another size begins anew.

        Returns:
            Its confidence is the frame's own where the label is, else the evidence.
        """
        labels, confidence = frame.label_map, frame.confidence
        if self._labels is None or self._labels.shape != labels.shape or not self._hold:
            self._labels, self._evidence = labels.copy(), confidence.copy()
            return frame
        agrees = labels == self._labels
        change = (1 - self._hold) * confidence
        evidence = self._hold * self._evidence + np.where(agrees, change, -change)
        self._labels = np.where(evidence < 0, labels, self._labels)
        self._evidence = abs(evidence)
        sure = np.where(self._labels == labels, confidence, self._evidence)
        return Segmentation(self._labels.copy(), sure, frame.names, frame.image)


def flicker_share(label_maps: np.ndarray) -> float:
    """Share of pixels that leave their label for one frame, of all that have a frame on both sides.

    Args:
        label_maps: (N, H, W) of frames in order, N from 3.

    Returns:
        In [0, 1].
    """
    before, now, after = label_maps[:-2], label_maps[1:-1], label_maps[2:]
    return float(np.mean((before == after) & (now != before)))
