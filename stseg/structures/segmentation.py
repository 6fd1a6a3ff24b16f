"""The answer for one image. NumPy only."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from stseg.utils import IGNORE_LABEL


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The answer for one image.

    Attributes:
        label_map: (H, W) int32, index into `names`; -1 where unknown.
        confidence: (H, W) float32 in [0, 1], of the class shown, or of the best candidate where
            the label is unknown.
        names: T class names.
    """

    label_map: np.ndarray
    confidence: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.label_map.ndim != 2 or self.label_map.shape != self.confidence.shape:
            raise ValueError(
                "Segmentation: expected label_map and confidence of one shape (H, W), "
                f"got {self.label_map.shape} and {self.confidence.shape}."
            )
        labels = self.label_map.astype(np.int32, copy=False)
        if labels.size and not IGNORE_LABEL <= labels.min() <= labels.max() < len(self.names):
            raise ValueError(
                f"Segmentation: expected labels in [-1, {len(self.names) - 1}], "
                f"got [{labels.min()}, {labels.max()}]."
            )
        object.__setattr__(self, "label_map", labels)
        object.__setattr__(self, "confidence", self.confidence.astype(np.float32, copy=False))
        object.__setattr__(self, "names", tuple(self.names))

    def save(
        self, directory: str | PathLike[str], stem: str, image: np.ndarray | None = None
    ) -> list[Path]:
        """Write `<stem>.png` (labels), `<stem>.json` and, with an image, `<stem>_overlay.jpg`.

        Args:
            directory: made if missing.
            stem: file name without suffix.
            image: (H, W, 3) uint8 RGB, for the overlay.

        Returns:
            The files written.
        """
        # Imported here: only saving needs Pillow and OpenCV.
        from stseg.render import save_segmentation

        return save_segmentation(self, Path(directory), stem, image)
