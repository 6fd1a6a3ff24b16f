"""Prompts for SAM out of a coarse mask.

After SAMRefiner (Lin et al., ICLR 2025, arXiv 2502.06756): a semantic mask is split into connected
parts; each gets a positive point at the peak of its distance transform, a negative one by the same
rule in its box's background, a box that grows where the context looks like the part, and a mask
that fades from the positive point like a Gaussian. Written anew from the paper; where it differs:
the negative point keeps off the other parts of the class, and a box grows by its own image's
similarities, without a fixed threshold.

Coordinates are pixels of the image, x before y, counted from 0 at the centre of the first pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from stseg.self_training.frame import MASK_STRIDE, Frame

#: Logit of a sure cell of a mask prompt. SAM was trained on its own logits, which lie in +-32.
MASK_LOGIT = 15.0
#: Spread of the Gaussian in units of the part's area.
GAUSSIAN_SPAN = 4.0
#: Closer to the part a background pixel is no safe negative: coarse masks are off by this much.
_NEGATIVE_DISTANCE = 2.0


@dataclass(frozen=True, eq=False)
class Part:
    """A connected piece of a mask, cut out.

    Attributes:
        mask: (h, w) bool, the piece within its box.
        box: x0, y0, x1, y1 of its first and last pixels.
        area: its pixels.
    """

    mask: np.ndarray
    box: tuple[int, int, int, int]
    area: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the box covers."""
        x0, y0, x1, y1 = self.box
        return slice(y0, y1 + 1), slice(x0, x1 + 1)

    def full(self, shape: tuple[int, int]) -> np.ndarray:
        """The piece in an image of that shape, (H, W) bool."""
        mask = np.zeros(shape, bool)
        mask[self.window] = self.mask
        return mask


def whole(mask: np.ndarray) -> list[Part]:
    """The mask (H, W) bool as one part; none if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    x0, x1, y0, y1 = (int(v) for v in (columns[0], columns[-1], rows[0], rows[-1]))
    cut = mask[y0 : y1 + 1, x0 : x1 + 1]
    return [Part(cut, (x0, y0, x1, y1), int(cut.sum()))]


def split(mask: np.ndarray, *, min_share: float, max_parts: int) -> list[Part]:
    """Split a mask into its connected parts (8 neighbours), largest first.

    Args:
        mask: (H, W) bool.
        min_share: parts below this share of the mask's pixels are dropped, the largest never.
        max_parts: at most this many.

    Returns:
        Parts; of equal ones the upper, then the left comes first. Empty for an empty mask.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), 8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = []
    for index in np.argsort(-areas, kind="stable")[:max_parts].tolist():
        if parts and areas[index] < min_share * areas.sum():
            break
        x, y, width, height, area = (int(v) for v in stats[index + 1])
        cut = labels[y : y + height, x : x + width] == index + 1
        parts.append(Part(cut, (x, y, x + width - 1, y + height - 1), area))
    return parts


def positive_point(part: Part) -> tuple[int, int]:
    """Pixel of the part farthest from its outline; the image's border counts as outline.

    Of several such pixels the one nearest to the part's centre of gravity, so that a line gets
    its middle and not its end.
    """
    padded = np.pad(part.mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    peaks = np.argwhere(distance >= distance.max() - 1e-4)
    centre = np.argwhere(part.mask).mean(0)
    y, x = peaks[np.argmin(((peaks - centre) ** 2).sum(1))].tolist()
    return part.box[0] + x, part.box[1] + y


def negative_point(part: Part, class_mask: np.ndarray) -> tuple[int, int] | None:
    """Pixel of the part's box farthest from the class, or None if the box has no safe background.

    Args:
        part: whose box is searched.
        class_mask: (H, W) bool, the whole class, so that no other part of it is named background.
    """
    background = ~class_mask[part.window]
    if not background.any():
        return None
    distance = cv2.distanceTransform(
        background.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    if distance[y, x] < _NEGATIVE_DISTANCE:
        return None
    return part.box[0] + int(x), part.box[1] + int(y)


def hard_mask(share: np.ndarray) -> np.ndarray:
    """A mask prompt that is sure wherever the mask is.

    A mask thinner than a cell is strengthened until its fullest cell is sure; else it would vanish.

    Args:
        share: (low, low) float32 in [0, 1], how much of each cell of SAM's mask frame is covered.

    Returns:
        (low, low) float32 logits in +-MASK_LOGIT.
    """
    return MASK_LOGIT * (2 * share / max(float(share.max()), 1e-6) - 1)


def gaussian_mask(
    share: np.ndarray, frame: Frame, centre: tuple[int, int], area: int
) -> np.ndarray:
    """`hard_mask`, its inside fading with the distance from `centre`; signs stay.

    The fall is exp(-d^2 / (span x area)) with d in image pixels: far ends of a coarse part are less
    sure than its middle.

    Args:
        share: (low, low) float32 in [0, 1], how much of each cell is covered.
        frame: where the image lies.
        centre: x, y of the peak.
        area: pixels of the part.
    """
    logits = hard_mask(share)
    middles = (np.arange(frame.low, dtype=np.float32) + 0.5) * MASK_STRIDE
    x, y = (middles / scale - 0.5 for scale in frame.scale)
    reach = GAUSSIAN_SPAN * area
    fall_x, fall_y = (np.exp(-((v - c) ** 2) / reach) for v, c in zip((x, y), centre, strict=True))
    fading = logits * fall_y[:, None] * fall_x
    return np.where(logits > 0, fading, logits).astype(np.float32)


def alike(share: np.ndarray, frame: Frame, units: np.ndarray) -> np.ndarray:
    """Cells of SAM's embedding that look more like the part than like the image as a whole.

    Args:
        share: (low, low) float32 in [0, 1], how much of each cell of the mask frame is covered.
        frame: where the image lies.
        units: (C, n, n) float32, the embedding, each cell of unit length.

    Returns:
        (n, n) bool: nearer (cosine) to the part's mean than halfway between the part's own cells
        and the image's.
    """
    side = units.shape[-1]
    weight = cv2.resize(share, (side, side), interpolation=cv2.INTER_AREA)
    weight = weight / max(float(weight.sum()), 1e-6)
    mean = np.einsum("cyx,yx->c", units, weight)
    likeness = np.einsum("cyx,c->yx", units, mean)
    rows, columns = (
        max(1, round(v * side / frame.size)) for v in (frame.scaled_height, frame.scaled_width)
    )
    own, everywhere = (likeness * weight).sum(), likeness[:rows, :columns].mean()
    return likeness > (own + everywhere) / 2


def grow_box(
    box: tuple[int, int, int, int], likeness: np.ndarray, frame: Frame, *, step: float, rounds: int
) -> tuple[int, int, int, int]:
    """Let a box grow to each side where more than half of the strip outside looks like the part.

    Args:
        box: x0, y0, x1, y1.
        likeness: (n, n) bool, the cells of SAM's embedding that look like the part.
        frame: where the image lies; the box stays inside the image.
        step: width of a strip as a share of the box's side.
        rounds: strips per side at most; 0 leaves the box.
    """
    x0, y0, x1, y1 = box
    step_x, step_y = (max(1, round(step * (b - a + 1))) for a, b in ((x0, x1), (y0, y1)))
    cell_x, cell_y = (frame.size / len(likeness) / s for s in frame.scale)  # image pixels per cell

    def looks_alike(left: int, top: int, right: int, bottom: int) -> bool:
        rows = slice(int(top / cell_y), max(int(top / cell_y) + 1, int(np.ceil(bottom / cell_y))))
        columns = slice(
            int(left / cell_x), max(int(left / cell_x) + 1, int(np.ceil(right / cell_x)))
        )
        return bool(likeness[rows, columns].mean() > 0.5)

    for _ in range(rounds):
        left, right = max(0, x0 - step_x), min(frame.width - 1, x1 + step_x)
        top, bottom = max(0, y0 - step_y), min(frame.height - 1, y1 + step_y)
        grown = (
            left if left < x0 and looks_alike(left, y0, x0, y1 + 1) else x0,
            top if top < y0 and looks_alike(x0, top, x1 + 1, y0) else y0,
            right if right > x1 and looks_alike(x1 + 1, y0, right + 1, y1 + 1) else x1,
            bottom if bottom > y1 and looks_alike(x0, y1 + 1, x1 + 1, bottom + 1) else y1,
        )
        if grown == (x0, y0, x1, y1):
            break
        x0, y0, x1, y1 = grown
    return x0, y0, x1, y1
