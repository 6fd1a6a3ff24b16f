import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from stseg.exports.outlines import mask_rings, solid_outlines

RNG = np.random.default_rng(0)
MASKS = [RNG.random(RNG.integers(1, 14, 2)) < density for density in np.linspace(0, 1, 120)]


def filled(rings, size):
    """Winding number about the centre of every pixel: edges that go up count to their right."""
    winding = np.zeros(size, dtype=int)
    for ring in rings:
        for (x, y), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            assert (x == x2) != (y == y2)
            top, bottom = sorted((int(y), int(y2)))
            winding[top:bottom, int(x) :] += 1 if y2 < y else -1
    return winding


def test_rings_wind_once_around_the_pixels_of_a_mask():
    for mask in MASKS:
        assert np.array_equal(filled(mask_rings(mask), mask.shape), mask)


def test_solid_outlines_fill_to_the_mask_in_opencv_and_pillow():
    for mask in MASKS:
        canvas = np.zeros(mask.shape, dtype=np.uint8)
        picture = Image.new("I", mask.shape[::-1], 0)
        for outline in solid_outlines(mask):
            assert len(outline) >= 3 and outline.dtype == np.int32
            part = np.zeros_like(canvas)
            canvas += cv2.fillPoly(part, [outline], 1)
            corners = [tuple(point) for point in outline.astype(float).tolist()]
            ImageDraw.Draw(picture).polygon(corners, fill=1, outline=1)
        assert np.array_equal(canvas, mask)  # no pixel twice
        assert np.array_equal(np.asarray(picture), mask)


@pytest.mark.parametrize("holes", [1, 30])
def test_a_region_is_cut_into_few_parts(holes):
    mask = np.ones((40, 200), dtype=bool)
    mask[10:30, 3 : 3 + 6 * holes : 6] = False
    assert len(list(solid_outlines(mask))) == 2
