"""Pictures as frozen encoders take them: against EBSeg's arrays, and by themselves."""

import pytest
import torch

from stseg.modeling.encoders.sam import PIXEL_MEAN, PIXEL_STD
from stseg.modeling.meta_arch.normalised import normalised_batch, rescaled
from tests.helpers.ebseg_arrays import assert_within, ebseg_arrays, tensor
from tests.helpers.small_vit import split

MEAN, STD = (torch.tensor(x)[:, None, None] for x in (PIXEL_MEAN, PIXEL_STD))


@pytest.fixture(scope="module")
def arrays(shared_dir):
    return ebseg_arrays(shared_dir, "input_prep")


@pytest.fixture(scope="module")
def images(arrays):
    return [tensor(arrays[f"image_{i}"]).float() for i in range(2)]


def test_sam_gets_the_published_batch(arrays, images):
    assert_within(normalised_batch(images, MEAN, STD), arrays["sam_input"])


@pytest.mark.parametrize(("factor", "name"), [(0.5, "clip_input_5"), (0.7, "clip_input_7")])
def test_clip_gets_the_published_batch(arrays, images, factor, name):
    encoder = split()
    batch = normalised_batch(images, encoder.pixel_mean, encoder.pixel_std)
    assert_within(rescaled(batch, factor), arrays[name])


@pytest.mark.parametrize(("size", "padded"), [((1, 1), (32, 32)), ((64, 33), (64, 64))])
def test_sides_become_multiples_and_what_is_added_is_the_mean(size, padded):
    image = torch.full((3, *size), 255.0)
    batch = normalised_batch([image], MEAN, STD)
    assert batch.shape == (1, 3, *padded)
    torch.testing.assert_close(batch[0, :, : size[0], : size[1]], (image - MEAN) / STD)
    assert not batch[..., size[0] :, :].any() and not batch[..., size[1] :].any()


def test_the_factor_counts_where_a_side_is_floored():
    """The last of 67 pixels is read at 66.5 / 0.7 - 0.5, not at the middle of the last 96 / 67."""
    ramp = torch.arange(96.0).expand(1, 1, 2, 96)
    shrunk = rescaled(ramp, 0.7)
    assert shrunk.shape[-1] == 67
    assert shrunk[0, 0, 0, -1].item() == pytest.approx(66.5 / 0.7 - 0.5, abs=1e-4)
