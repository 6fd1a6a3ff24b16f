"""Masks as polygons: exact rings along the edges of pixels, and outlines through pixel centres."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from stseg.exports.labelled import bounds

#: East, south, west, north: (x, y) of a step along an edge.
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])


def mask_rings(mask: np.ndarray) -> list[np.ndarray]:
    """The rings of `Segmentation.to_polygons` of one mask.

    Args:
        mask: (H, W) bool.

    Returns:
        (N, 2) float64 corners (x, y) each; outer rings clockwise on the screen, holes the other
        way.
    """
    if not mask.any():
        return []
    top, bottom, left, right = bounds(mask)
    mask = mask[top:bottom, left:right]
    starts, ways = _edges(mask)
    order = np.lexsort((ways, starts[:, 0], starts[:, 1]))
    starts, ways = starts[order], ways[order]
    width = mask.shape[1] + 1
    keys = (starts[:, 1] * width + starts[:, 0]) * 4 + ways
    ends = starts + _STEPS[ways]
    after = np.full(len(keys), -1)
    # The sharpest right turn first: it stays at the pixel that lies to the right of the edge, so
    # that pixels that touch at a corner are parted.
    for turn in (1, 0, 3):
        wanted = (ends[:, 1] * width + ends[:, 0]) * 4 + (ways + turn) % 4
        places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        is_there = (keys[places] == wanted) & (after < 0)
        after[is_there] = places[is_there]
    turns = ways[after] != ways
    ends += (left, top)
    return [_corners(ring, ends, turns) for ring in _circles(after.tolist())]


def _edges(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts (E, 2) as (x, y) and directions (E,) of pixel edges with the mask to their right."""
    inside = np.pad(mask.astype(bool), 1)
    starts, ways = [], []
    # (direction, where the neighbour lies across the edge, where the edge starts at its pixel)
    for way, neighbour, corner in (
        (0, (-1, 0), (0, 0)),
        (1, (0, 1), (1, 0)),
        (2, (1, 0), (1, 1)),
        (3, (0, -1), (0, 1)),
    ):
        rows, columns = np.nonzero(
            inside & ~np.roll(inside, (-neighbour[0], -neighbour[1]), (0, 1))
        )
        starts.append(np.stack([columns - 1 + corner[0], rows - 1 + corner[1]], axis=1))
        ways.append(np.full(len(rows), way))
    return np.concatenate(starts), np.concatenate(ways)


def _circles(after: list[int]) -> Iterator[list[int]]:
    """Of the edges, by what follows each."""
    waiting = [True] * len(after)
    for first in range(len(after)):
        ring, edge = [], first
        while waiting[edge]:
            waiting[edge] = False
            ring.append(edge)
            edge = after[edge]
        if ring:
            yield ring


def _corners(ring: list[int], ends: np.ndarray, turns: np.ndarray) -> np.ndarray:
    edges = np.array(ring)
    return ends[edges[turns[edges]]].astype(np.float64)


def solid_outlines(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Outlines of parts without holes that make up a mask, through the centres of its pixels.

    Filled with their outlines drawn (`cv2.fillPoly`, Pillow's `polygon`) they give the mask, pixel
    by pixel. A region with holes is cut along rows that go through them.

    Args:
        mask: (H, W) bool.

    Yields:
        (N, 2) int32 pixels (x, y), N >= 3; small ones repeat a pixel.
    """
    waiting = [(mask.astype(np.uint8), np.zeros(2, dtype=np.int32))]
    while waiting:
        part, corner = waiting.pop()
        # For OpenCV's outlines, too, pixels that touch at a corner are of one region.
        count, regions, boxes, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
        for number in range(1, count):
            left, top, width, height = boxes[number, :4].tolist()
            place = np.s_[top : top + height, left : left + width]
            region = (regions[place] == number).astype(np.uint8)
            outlines, nesting = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
            start = corner + np.array((left, top), dtype=np.int32)
            if len(outlines) == 1:
                points = outlines[0].reshape(-1, 2) + start
                missing = max(0, 3 - len(points))
                yield np.concatenate([points, points[-1:].repeat(missing, axis=0)])
            else:
                holes = [o for o, row in zip(outlines, nesting[0], strict=True) if row[3] >= 0]
                cut = _row_of_most(holes, height) + 1
                below = start + np.array((0, cut), dtype=np.int32)
                waiting += [(region[:cut], start), (region[cut:], below)]


def _row_of_most(holes: Sequence[np.ndarray], height: int) -> int:
    """The middle one of the rows that go through most holes."""
    changes = np.zeros(height, dtype=np.int64)
    for outline in holes:
        _, top, _, high = cv2.boundingRect(outline)
        changes[top + 1] += 1  # the outline goes through the pixels around the hole
        changes[top + high - 1] -= 1
    through = changes.cumsum()
    rows = np.flatnonzero(through == through.max())
    return int(rows[len(rows) // 2])
