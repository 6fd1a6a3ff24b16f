"""The regions of a label map as outlines that a page can show, and a person can point at."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from stseg.exports import mask_rings
from stseg.render import labels_at_size
from stseg.self_training.corrections import write_outline

_SIDE = 1024  # labels are seldom made larger
_LEAST_SHARE = 1 / 4000  # of the picture: some seven pixels square on the page
_MOST_REGIONS = 100
_MOST_CORNERS = 800  # of a region; those of noise would fill the page
_TOO_FAR = 4.0  # pixels off


@dataclass(frozen=True)
class Region:
    """A connected part of one class.

    Attributes:
        class_id: index into the vocabulary, IGNORE_LABEL where there is no label.
        outline: in pixels of the image, see `read_outline`.
        pixels: that it has, of a map whose sides are at most 1024.
    """

    class_id: int
    outline: str
    pixels: int


def find_regions_of(label_map: np.ndarray) -> list[Region]:
    """Up to 100 regions that are large enough to point at, the largest first.

    Outlines are simplified by up to a pixel of a map whose sides are at most 1024; holes of less
    are left out, outlines of many hundred corners become coarser, and noise has none.

    Args:
        label_map: (H, W) class ids, IGNORE_LABEL where there is no label.
    """
    height, width = label_map.shape
    shrink = min(1.0, _SIDE / max(height, width, 1))
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    labels = labels_at_size(label_map, size)
    scale = np.array((width / size[1], height / size[0]))
    found = []
    for class_id in np.unique(labels).tolist():
        for rings, pixels in _parts(labels == class_id):
            outline = write_outline(ring * scale for ring in rings)
            found.append(Region(class_id, outline, pixels))
    return sorted(found, key=lambda region: -region.pixels)[:_MOST_REGIONS]


def _parts(mask: np.ndarray) -> Iterator[tuple[list[np.ndarray], int]]:
    """Rings and pixels of every connected part that is large enough."""
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    least = max(4, mask.size * _LEAST_SHARE)
    for number in np.flatnonzero(boxes[1:, cv2.CC_STAT_AREA] >= least) + 1:
        left, top, width, height, pixels = boxes[number].tolist()
        part = parts[top : top + height, left : left + width] == number
        if rings := _simplified(mask_rings(part), pixels):
            yield [ring + (left, top) for ring in rings], pixels


def _simplified(rings: list[np.ndarray], pixels: int) -> list[np.ndarray]:
    """With fewer corners, a pixel off at most where that is enough; the outer ring is first.

    Empty where a few hundred corners cannot tell the part from what lies around it.
    """
    most_off = min(1.0, pixels**0.5 / 40)  # a pixel is much of a small part
    while most_off < _TOO_FAR:
        simple = [
            cv2.approxPolyDP(ring.astype(np.int32)[:, None], most_off, True)[:, 0] for ring in rings
        ]
        if len(simple[0]) < 3:  # a line
            break
        simple = [ring for ring in simple if len(ring) >= 3]
        if sum(map(len, simple)) <= _MOST_CORNERS:
            return simple
        most_off *= 1.5
    return []
