"""The head without a decoder, and what a file of it may leave out."""

import pytest
import torch
from torch.nn import functional as F

from stseg.checkpoint import check_fit
from stseg.modeling.heads.cosine_head import CosineHead
from stseg.modeling.heads.cost_volume import CostVolume
from stseg.modeling.meta_arch.stseg import STSeg
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import tiny_cfg

HEAD = {"MODEL__SEM_SEG_HEAD__NAME": "CosineHead", "MODEL__STSEG__DEA__ENABLED": False}


def test_scores_are_mean_similarities_scaled_and_moved():
    feats, embeds = torch.randn(2, 5, 3, 4), torch.randn(6, 7, 5)
    expected = torch.zeros(2, 6, 3, 4)
    for image, name in ((i, t) for i in range(2) for t in range(6)):
        similar = F.cosine_similarity(feats[image][None], embeds[name][:, :, None, None], dim=1)
        expected[image, name] = 10 * (similar.mean(0) - 0.2)
    head, cost = CosineHead(scale=10.0, offset=0.2), CostVolume(feats, embeds)
    for given in (cost, cost.whole()):
        (found,) = head(given, [])
        torch.testing.assert_close(found, expected)


def test_a_model_with_it_learns_its_two_numbers_and_answers_any_words():
    torch.manual_seed(0)
    model = STSeg(tiny_cfg(**HEAD))
    names = Vocabulary.parse(["cat", "dog"])
    record = {
        "image": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8),
        "sem_seg": torch.randint(0, 2, (64, 64)),
        "vocabulary": names,
    }
    losses = model.train()([record])
    sum(losses.values()).backward()
    assert model.head.scale.grad.abs() > 0
    assert model.head.offset.grad.abs() > 0
    (answer,) = model.eval()([{**record, "height": 70, "width": 50}])
    assert answer["sem_seg"].shape[-2:] == (70, 50)


def test_a_frozen_image_tower_may_be_left_out_of_a_file_and_a_trained_one_may_not():
    for mode, is_fine in (("none", True), ("full", False)):
        model = STSeg(tiny_cfg(**HEAD, MODEL__CLIP__FINETUNE=mode))
        state = {name: v for name, v in model.state_dict().items() if name.startswith("head.")}
        if is_fine:
            check_fit(model, state, "MODEL.WEIGHTS", "small.pth")
            continue
        with pytest.raises(ValueError, match="tensors missing in the file"):
            check_fit(model, state, "MODEL.WEIGHTS", "small.pth")
