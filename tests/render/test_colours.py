import cv2
import numpy as np

from stseg.render.colours import rgb_to_lab


def test_lab_is_that_of_opencv():
    rgb = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    expected = cv2.cvtColor(rgb[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    assert np.abs(rgb_to_lab(rgb) - expected).max() < 0.5
    assert np.allclose(rgb_to_lab(np.array([[255, 255, 255], [0, 0, 0]])), [[100, 0, 0], [0, 0, 0]])
