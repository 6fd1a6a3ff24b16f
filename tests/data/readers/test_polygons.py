"""Shapes that reach far beyond their image are drawn as what of them lies inside."""

import multiprocessing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from stseg.data.readers.annotations import Drawing
from stseg.data.readers.coco_instances import draw_coco
from stseg.data.readers.labelme import draw_labelme
from stseg.data.readers.polygons import clip_polygon

SIZE = (20, 30)  # height, width
FAR = (1e4, 1e8, 1e15, 1e300)


def in_a_process_of_its_own(function, *arguments):
    """What the function returns; a crash of the process is an assertion."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(function(*arguments)))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise AssertionError("the process ended without an answer") from None
    finally:
        process.join()


def coco(*polygons):
    content = (("a", [list(map(float, polygon)) for polygon in polygons]),)
    drawing = Drawing("a.png", "a", "test.json", content)
    return in_a_process_of_its_own(draw_coco, drawing, SIZE, {"a": 1}, 0)


def labelme(kind, *points):
    drawing = Drawing("a.png", "a", "a.json", (("a", kind, [tuple(p) for p in points]),))
    return in_a_process_of_its_own(draw_labelme, drawing, SIZE, {"a": 1}, 0)


@pytest.mark.parametrize("far", FAR)
def test_a_polygon_around_the_image_covers_it(far):
    square = [-far, -far, far, -far, far, far, -far, far]
    assert (coco(square) == 1).all()
    assert (labelme("polygon", *zip(square[::2], square[1::2], strict=True)) == 1).all()


@pytest.mark.parametrize("far", FAR)
def test_of_a_polygon_that_leaves_the_image_the_part_inside_is_drawn(far):
    """The half below a line through the middle, and a triangle whose tip lies far away."""
    assert (coco([-far, 10, far, 10, far, far, -far, far]) == 1).sum() == 10 * 30
    wedge = coco([0, 0, far, 0, far, far])  # the diagonal's upper side
    rows, cols = np.indices(SIZE)
    assert (wedge[cols > rows + 1] == 1).all() and (wedge[cols < rows - 1] == 0).all()


@pytest.mark.parametrize("far", FAR)
def test_shapes_far_away_leave_the_image_as_it_is(far):
    assert not coco([far, far, far + far / 2, far, far, far + far / 2]).any()
    assert not labelme("polygon", (far, far), (far * 1.5, far), (far, far * 1.5)).any()
    assert not labelme("rectangle", (far, far), (far * 1.5, far * 1.5)).any()
    assert not labelme("circle", (far, far), (far, far * 1.01)).any()


@pytest.mark.parametrize("far", FAR)
def test_rectangles_and_circles_may_be_larger_than_the_image(far):
    assert (labelme("rectangle", (-far, 5), (far, far))[5:] == 1).all()
    assert not labelme("rectangle", (-far, 5), (far, far))[:5].any()
    assert (labelme("circle", (0, 0), (far, 0)) == 1).all()
    # Its edge is as good as a straight line, through column 10.
    half = labelme("circle", (10 - far, 10), (10, 10))
    if far <= 1e8:
        assert (half[:, :10] == 1).all() and not half[:, 11:].any()


def test_one_far_corner_of_several_polygons_does_not_change_the_others():
    near = [2, 2, 8, 2, 8, 8, 2, 8]
    assert (coco(near, [1e8, 1e8, 1e9, 1e8, 1e8, 1e9]) == coco(near)).all()


def distance(point, start, end):
    """Of a point from the line between two others."""
    p, a, b = (np.array(x, dtype=float) for x in (point, start, end))
    length = ((b - a) ** 2).sum()
    share = np.clip(((p - a) @ (b - a)) / length, 0, 1) if length else 0.0
    return np.linalg.norm(p - a - share * (b - a))


@given(st.lists(st.tuples(st.floats(-30, 60), st.floats(-20, 40)), min_size=3, max_size=8))
def test_a_polygon_near_the_image_stays_as_it_is(points):
    assert clip_polygon(points, *SIZE) == points


@given(st.lists(st.tuples(st.floats(-400, 400), st.floats(-400, 400)), min_size=3, max_size=6))
def test_clipping_changes_nothing_inside_the_image(points):
    """But for rounding of edges to a fifth of a pixel, the grid that pycocotools walks on."""

    def area(corners):
        if not corners:
            return np.zeros(SIZE, np.uint8)
        flat = [value for corner in corners for value in corner]
        return mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects([flat], *SIZE)))

    clipped = clip_polygon(points, *SIZE)
    assert all(-30.001 <= x <= 60.001 and -20.001 <= y <= 40.001 for x, y in clipped)
    for row, col in np.argwhere(area(points) != area(clipped)):
        edges = zip(points, [*points[1:], points[0]], strict=True)
        assert min(distance((col + 0.5, row + 0.5), a, b) for a, b in edges) < 1
