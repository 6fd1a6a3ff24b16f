"""Pictures of a prediction beside its label. NumPy and Pillow only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from stseg.render import UNKNOWN_COLOUR, hatch, image_bytes, label_colours, labels_at_size
from stseg.structures import IGNORE_LABEL

#: Longest side of a picture in pixels.
SIDE = 480
_RIGHT, _WRONG, _UNSCORED = (226, 229, 233), (200, 30, 60), UNKNOWN_COLOUR
_GAP = 8


@dataclass(frozen=True)
class Picture:
    """(H, W, 3) uint8 RGB with a caption."""

    caption: str
    pixels: np.ndarray

    @property
    def width(self) -> int:
        """Pixels."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.pixels.shape[0]

    @property
    def jpeg(self) -> bytes:
        """The file's bytes; full colour resolution, for label maps are all edges."""
        return image_bytes(self.pixels, "JPEG", quality=85, subsampling=0)


@dataclass(frozen=True)
class ImageCard:
    """One image of a report.

    Attributes:
        name: of the image.
        mean_iou: over the classes in its label, fraction.
        pictures: in the order to show.
        classes: (class id, IoU in this image, share of the scored pixels), the largest first.
    """

    name: str
    mean_iou: float
    pictures: Sequence[Picture]
    classes: Sequence[tuple[int, float, float]]


def draw_pictures(
    prediction: np.ndarray,
    label: np.ndarray,
    names: Sequence[str],
    photo: np.ndarray | None = None,
) -> list[Picture]:
    """Photo (where given), label, prediction and mistakes, all of one size.

    Args:
        prediction: (H, W) class ids.
        label: (H, W) class ids, `IGNORE_LABEL` where not scored.
        names: of the class ids.
        photo: (h, w, 3) uint8 RGB; brought to the size of the maps.
    """
    scored = label != IGNORE_LABEL
    share = (scored & (prediction != label)).sum() / max(scored.sum(), 1)
    size = _size(label.shape)
    label, prediction = labels_at_size(label, size), labels_at_size(prediction, size)
    scored = label != IGNORE_LABEL
    wrong = scored & (prediction != label)
    mistakes = np.array([_RIGHT, _WRONG], dtype=np.uint8)[wrong.astype(np.intp)]
    maps: dict[str, np.ndarray] = {
        "Label": label_colours(label, names),
        "Prediction": label_colours(prediction, names),
        f"Mistakes: {100 * share:.1f} % of the scored pixels": mistakes,
    }
    pictures = []
    if photo is not None:
        height, width = scored.shape
        resized = Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR)
        pictures.append(Picture("Photo", np.asarray(resized)))
    for caption, pixels in maps.items():
        pixels[~scored] = _UNSCORED
        hatch(pixels, ~scored)
        pictures.append(Picture(caption, pixels))
    return pictures


def join_pictures(pictures: Sequence[Picture]) -> Picture:
    """All side by side, under one caption."""
    height = pictures[0].pixels.shape[0]
    gap = np.full((height, _GAP, 3), 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (gap, picture.pixels)][1:]
    caption = "; ".join(picture.caption for picture in pictures)
    return Picture(caption, np.concatenate(parts, axis=1))


def _size(shape: tuple[int, ...]) -> list[int]:
    """Height and width of at most `SIDE`; small maps grow by a whole factor."""
    factor = SIDE / max(shape)
    if factor >= 1:
        factor = int(factor)
    return [max(1, round(side * factor)) for side in shape]
