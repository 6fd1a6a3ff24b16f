"""Polygons that reach far beyond their image, cut off before anything is drawn.

Rasterisers walk along every edge, pixel by pixel: a coordinate of 1e8 (an annotation in other
units, a slip of the pen) takes gigabytes, and pycocotools ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]


def clip_polygon(points: Sequence[Point], height: int, width: int) -> list[Point]:
    """Cut a polygon off at one image's size around the image (Sutherland and Hodgman, 1974).

    Inside the image nothing changes: edges keep their lines, and what is cut lies outside.

    Args:
        points: corners (x, y) in pixels, finite.
        height: of the image.
        width: of the image.

    Returns:
        Corners with x in [-width, 2 width] and y in [-height, 2 height]: the same ones where they
        lie there already, [] if nothing is left.
    """
    kept = list(points)
    for axis, size in ((0, width), (1, height)):
        for limit, sign in ((-size, 1.0), (2 * size, -1.0)):
            kept = _clip(kept, axis, limit, sign)
    return kept


def _clip(points: list[Point], axis: int, limit: float, sign: float) -> list[Point]:
    """Keep the side of a line where sign * (coordinate - limit) >= 0."""
    if all(sign * point[axis] >= sign * limit for point in points):
        return points
    kept: list[Point] = []
    for start, end in zip([points[-1], *points[:-1]], points, strict=True):
        is_in = sign * end[axis] >= sign * limit
        if is_in != (sign * start[axis] >= sign * limit):
            kept.append(_crossing(start, end, axis, limit))
        if is_in:
            kept.append(end)
    return kept


def _crossing(start: Point, end: Point, axis: int, limit: float) -> Point:
    """Where an edge meets a line."""
    # From the nearer end, or the way from a far one would be rounded to more than the image.
    near, far = sorted((start, end), key=lambda point: abs(point[axis] - limit))
    # Halves: the difference of two numbers near the largest ones would be infinite.
    share = (limit / 2 - near[axis] / 2) / (far[axis] / 2 - near[axis] / 2)
    other = near[1 - axis] * (1 - share) + far[1 - axis] * share
    return (limit, other) if axis == 0 else (other, limit)
