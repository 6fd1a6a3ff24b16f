"""Coordinates between an image and SAM's input, against `segment_anything` itself."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.utils.transforms import ResizeLongestSide

from stseg.self_training.frame import Frame
from tests.helpers.tiny_model import tiny_sam

SIZES = [(100, 180), (180, 100), (37, 128), (1024, 683), (64, 64), (300, 301)]


@pytest.mark.parametrize("size", [768, 1024])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_padded_points_and_boxes_are_those_of_sam(height, width, size):
    frame, stock = Frame.padded(height, width, size), ResizeLongestSide(size)
    rng = np.random.default_rng(0)
    points = rng.uniform(0, (width, height), (7, 2))
    boxes = rng.uniform(0, (width, height) * 2, (5, 4))
    np.testing.assert_allclose(
        frame.points(points), stock.apply_coords(points, (height, width)), rtol=1e-6
    )
    np.testing.assert_allclose(
        frame.boxes(boxes), stock.apply_boxes(boxes, (height, width)), rtol=1e-6
    )
    shape = stock.get_preprocess_shape(height, width, size)
    assert (frame.scaled_height, frame.scaled_width) == shape


def test_a_stretched_frame_scales_x_and_y_by_themselves():
    frame = Frame.stretched(100, 180, 768)
    x, y = frame.points(np.array([90.0, 25.0])).tolist()
    assert (x, y) == pytest.approx((384.0, 192.0))
    assert frame.boxes(np.array([0, 0, 180, 100])).tolist() == [0, 0, 768, 768]
    assert frame.low == 192


@pytest.mark.parametrize(("height", "width"), [(100, 128), (128, 70), (50, 90), (256, 200)])
def test_masks_come_back_as_from_sams_postprocessing(height, width):
    sam = tiny_sam()
    frame = Frame.padded(height, width, 128)
    logits = torch.randn(2, 3, 32, 32)
    ours = frame.to_image(logits.flatten(0, 1))
    theirs = sam.postprocess_masks(
        logits, (frame.scaled_height, frame.scaled_width), (height, width)
    )
    torch.testing.assert_close(ours, theirs.flatten(0, 1))
    assert SamPredictor(sam).transform.target_length == frame.size


@pytest.mark.parametrize("size", [768, 1024])
@pytest.mark.parametrize("make", [Frame.stretched, Frame.padded])
@pytest.mark.parametrize(("height", "width"), [(100, 180), (180, 100), (600, 450), (1500, 2000)])
def test_a_mask_survives_the_way_to_sam_and_back(make, height, width, size):
    frame = make(height, width, size)
    y, x = np.mgrid[:height, :width]
    # An ellipse off the centre: a swap, a shift or a wrong scale lands beside it.
    mask = ((x / width - 0.7) / 0.2) ** 2 + ((y / height - 0.3) / 0.25) ** 2 < 1
    low = frame.mask_prompt(mask)
    back = frame.to_image(torch.from_numpy(2 * low - 1)[None])[0].numpy() > 0
    assert low.shape == (frame.low, frame.low)
    assert low.dtype == np.float32
    assert iou(back, mask) > 0.97
    for shifted in (np.roll(back, 3, 0), np.roll(back, 3, 1)):
        assert iou(shifted, mask) < iou(back, mask)


def test_the_padding_holds_the_value_asked_for():
    low = Frame.padded(100, 200, 128).mask_prompt(np.ones((100, 200)), outside=-3.0)
    assert (low[:16] == 1).all()
    assert (low[16:] == -3).all()


def test_every_cell_is_the_mean_of_its_pixels():
    values = np.random.default_rng(0).random((64, 64), np.float32)
    low = Frame.stretched(64, 64, 64).mask_prompt(values)
    np.testing.assert_allclose(low, values.reshape(16, 4, 16, 4).mean((1, 3)), rtol=1e-5)


def test_a_very_long_image_keeps_a_row():
    frame = Frame.padded(1, 5000, 1024)
    assert frame.scaled_height == 1
    assert frame.to_image(torch.ones(1, 256, 256)).shape == (1, 1, 5000)


def test_what_does_not_fit_is_refused():
    frame = Frame.padded(10, 20, 64)
    with pytest.raises(ValueError, match="10 x 20"):
        frame.mask_prompt(np.zeros((20, 10)))
    with pytest.raises(ValueError, match="16 x 16"):
        frame.to_image(torch.zeros(1, 32, 32))
    with pytest.raises(ValueError, match="multiple of 4"):
        Frame.stretched(10, 20, 66)
    with pytest.raises(ValueError, match="1 x 1"):
        Frame.padded(0, 20, 64)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()
