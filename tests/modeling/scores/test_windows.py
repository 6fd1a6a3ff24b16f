"""Batches of mixed sizes, and evaluation by tiles."""

import pytest
import torch

from stseg.modeling.scores.batches import pad_to_batch, resize
from stseg.modeling.scores.sources import probabilities
from stseg.modeling.scores.windows import Tiles, window_starts
from tests.helpers.dense_scores import plain_windows, window_scores


def test_windows_cover_a_side_and_end_at_its_border():
    assert window_starts(100, 100, 0.5) == [0]
    assert window_starts(80, 100, 0.5) == [0]
    assert window_starts(200, 100, 0.5) == [0, 50, 100]
    assert window_starts(210, 100, 0.5) == [0, 50, 100, 110]
    assert window_starts(640, 384, 0.333) == [0, 256]


@pytest.mark.parametrize("length", [97, 256, 257, 640])
@pytest.mark.parametrize("overlap", [0.0, 0.333, 0.9])
def test_no_pixel_is_left_out(length, overlap):
    covered = torch.zeros(length)
    for start in window_starts(length, 96, overlap):
        assert 0 <= start <= length - 96
        covered[start : start + 96] += 1
    assert (covered > 0).all()


def brightness(images):
    """A network that looks at each pixel alone: two classes, bright and dark."""
    bright = images.mean(dim=1, keepdim=True) / 255
    return torch.cat([bright, 1 - bright], dim=1)


@pytest.mark.parametrize("size", [(40, 70), (64, 64), (20, 30)])
def test_tiles_of_a_pixelwise_network_give_the_whole_image(size):
    image = torch.rand(3, *size) * 255
    tiles = Tiles((32, 32), overlap=0.25, whole_image=False)
    working = (min(32, size[0]), min(32, size[1]))
    probs = probabilities(window_scores(brightness, image, tiles, working).at(size))
    torch.testing.assert_close(probs, brightness(image[None])[0])


def test_the_whole_image_is_averaged_in():
    image = torch.rand(3, 64, 64) * 255
    tiles = Tiles((32, 32), overlap=0.0)
    probs = probabilities(window_scores(brightness, image, tiles, (32, 32)).at((64, 64)))
    torch.testing.assert_close(probs, plain_windows(brightness, image, tiles, (32, 32)))
    whole = resize(brightness(resize(image[None], (32, 32))), (64, 64))[0]
    torch.testing.assert_close(probs, (brightness(image[None])[0] + whole) / 2)


def test_padding_keeps_every_image_in_its_corner():
    images = [torch.full((3, 4, 6), 1.0), torch.full((3, 5, 2), 2.0)]
    mean = torch.tensor([7.0, 8.0, 9.0])[:, None, None]
    batch = pad_to_batch(images, mean)
    assert batch.shape == (2, 3, 5, 6)
    assert (batch[0, :, :4] == 1).all()
    assert batch[0, :, 4, 0].tolist() == [7, 8, 9]
    assert (batch[1, :, :, :2] == 2).all()
    labels = pad_to_batch([torch.zeros(4, 6).long(), torch.zeros(5, 2).long()], -1)
    assert (labels == -1).sum() == 6 + 20


@pytest.mark.parametrize(
    ("arguments", "key"),
    [({"size": (0, 32)}, "SIZE"), ({"size": (8, 8), "overlap": 1.0}, "OVERLAP")],
)
def test_bad_tiles_are_named(arguments, key):
    with pytest.raises(ValueError, match=f"TEST.SLIDING_WINDOW.{key}"):
        Tiles(**arguments)
