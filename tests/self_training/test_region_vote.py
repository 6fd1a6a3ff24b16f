"""SAM's regions, named by the main branch."""

import numpy as np
import pytest
import torch
from torch import nn

from stseg.modeling.encoders.sam import decoder_parts
from stseg.self_training.frame import Frame
from stseg.self_training.region_vote import RegionSettings, find_regions, region_vote
from tests.helpers.tiny_model import tiny_sam

LABELS = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, -1]], np.int32)


def region(columns, rows=slice(None)):
    mask = np.zeros(LABELS.shape, bool)
    mask[rows, columns] = True
    return mask


def test_pure_regions_are_named_and_others_ignored():
    regions = np.stack([region(slice(0, 3)), region(slice(2, 4))])
    named = region_vote(regions, LABELS, 0.8)
    assert named.dtype == np.int32
    assert named.tolist() == [[0, 0, 0, -1, -1, -1]] * 2
    assert region_vote(regions, LABELS, 0.5).tolist() == [[0, 0, 0, 0, -1, -1]] * 2


def test_small_regions_lie_on_top_in_any_order():
    large, small = region(slice(0, 6)), region(slice(3, 4))
    for order in ((large, small), (small, large)):
        named = region_vote(np.stack(order), LABELS, 0.5)
        assert named.tolist() == [[0, 0, 0, 1, 0, 0]] * 2


def test_unknown_pixels_count_as_disagreement():
    last = region(slice(5, 6))[None]
    assert (region_vote(last, LABELS, 0.51) == -1).all()
    assert region_vote(last, LABELS, 0.5)[0, 5] == 1
    assert (region_vote(last, np.full_like(LABELS, -1), 0.1) == -1).all()


def test_no_regions_name_nothing():
    assert (region_vote(np.zeros((0, 2, 6), bool), LABELS, 0.5) == -1).all()
    assert (region_vote(np.zeros((1, 2, 6), bool), LABELS, 0.5) == -1).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"PURITY.*\(0, 1\]"):
        region_vote(np.zeros((0, 2, 6), bool), LABELS, 0.0)
    with pytest.raises(ValueError, match="shape"):
        region_vote(np.zeros((1, 6, 2), bool), LABELS, 0.5)
    with pytest.raises(ValueError, match="POINTS_PER_SIDE"):
        RegionSettings(points_per_side=0)


class PointEncoder(nn.Module):
    """Hands the point on, with SAM's half pixel."""

    def __init__(self, size):
        super().__init__()
        self.no_mask_embed = nn.Embedding(1, 1)
        self.side = size // 16

    def get_dense_pe(self):
        return torch.zeros(1, 1, self.side, self.side)

    def forward(self, points, boxes, masks):
        assert boxes is None
        assert masks is None
        return points[0] + 0.5, torch.zeros(len(points[0]), 1, self.side, self.side)


class HalvesDecoder(nn.Module):
    """Answers with the half of the image that the point lies in, a blurred and a bad mask."""

    def __init__(self, border):
        super().__init__()
        self.iou_token = nn.Embedding(1, 1)
        self.border = border  # SAM pixels

    def forward(self, *, sparse_prompt_embeddings, dense_prompt_embeddings, **_):
        x = sparse_prompt_embeddings[:, 0, 0]
        low = 4 * dense_prompt_embeddings.shape[-1]
        left = (torch.arange(low) + 0.5) * 4 < self.border
        half = torch.where((x < self.border)[:, None], left, ~left)
        logits = torch.where(half, 9.0, -9.0)[:, None, :].expand(-1, low, -1)
        blurred = torch.linspace(-2, 2, low).expand_as(logits)
        return torch.stack([logits, blurred, -logits], 1), torch.tensor([[0.95, 0.99, 0.2]]).expand(
            len(x), -1
        )


@pytest.mark.parametrize("make", [Frame.stretched, Frame.padded])
def test_repeated_blurred_and_bad_masks_are_dropped(make):
    frame = make(100, 160, 128)
    border = frame.points(np.array([96, 0]))[0]
    settings = RegionSettings(points_per_side=4, batch_size=5)
    regions = find_regions(
        PointEncoder(128), HalvesDecoder(border), torch.zeros(1, 1, 8, 8), frame, settings
    )
    assert regions.shape == (2, 100, 160)
    left, right = sorted(regions, key=lambda mask: mask[0].argmax())
    assert left[:, :94].all()
    assert not left[:, 98:].any()
    assert right[:, 98:].all()
    assert not right[:, :94].any()


def test_an_image_without_good_masks_has_no_regions():
    encoder, decoder = decoder_parts(tiny_sam(), 128)
    settings = RegionSettings(points_per_side=2, min_predicted_iou=99.0)
    frame = Frame.padded(50, 90, 128)
    regions = find_regions(encoder, decoder, torch.randn(1, 16, 8, 8), frame, settings)
    assert regions.shape == (0, 50, 90)
