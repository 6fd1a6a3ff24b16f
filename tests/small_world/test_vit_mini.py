"""CLIP-mini with a ViT: small enough, trained by the same command, split as EBSeg splits CLIP."""

import json

import numpy as np
import open_clip
import pytest
import torch

from stseg.engine import run_training
from stseg.modeling.encoders import SplitViT
from stseg.small_world.caption_trainer import CaptionRecipe, CaptionTrainer
from stseg.small_world.clip_judging import VALUES_FROM, build_model, encode_images, load_model

CPU = torch.device("cpu")
TINY = CaptionRecipe(
    model="vit_mini",
    steps=20,
    batch=8,
    objects=16,
    scenes=8,
    object_size=32,
    scene_size=48,
    phrases=8,
    lr=1e-3,
)


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return build_model("vit_mini").eval()


def test_half_precision_takes_less_than_6_mb(clip):
    assert sum(x.numel() for x in clip.state_dict().values()) * 2 < 6e6


@torch.no_grad()
def test_a_picture_is_the_class_token_and_a_cell_what_the_split_tower_says(clip):
    images = torch.rand(2, 3, 64, 96)
    whole, cells = encode_images(clip, images)
    assert whole.shape == (2, 96) and cells.shape == (2, 8, 12, 96)
    encoder = SplitViT(clip.visual, lower=4, taps=(), values_from=VALUES_FROM, trained=())
    dense = encoder(images, dense=True)["dense"]
    torch.testing.assert_close(dense.permute(0, 2, 3, 1), cells)
    square = torch.rand(1, 3, 96, 96)
    wanted = clip.encode_image(square, normalize=True)
    torch.testing.assert_close(encode_images(clip, square)[0], wanted)


def test_a_few_steps_lower_the_loss():
    trainer = CaptionTrainer(TINY, CPU, workers=0)
    losses = [trainer.run_step()["loss"] for _ in range(16)]
    assert np.mean(losses[-4:]) < 0.95 * np.mean(losses[:4])
    taught = {n for n, p in trainer.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert not {n for n, _ in trainer.model.named_parameters()} - taught


def test_it_goes_on_where_it_was_and_its_weights_are_told_by_what_they_are(tmp_path):
    recipe = CaptionRecipe(**{**vars(TINY), "steps": 4})
    run_training(CaptionTrainer(recipe, CPU, workers=0), tmp_path / "whole", 4, 1)
    broken = CaptionTrainer(recipe, CPU, workers=0)
    for _ in range(2):
        broken.run_step()
    (tmp_path / "broken").mkdir()
    torch.save(broken.state_dict(), tmp_path / "broken" / "last.pt")
    run_training(CaptionTrainer(recipe, CPU, workers=0), tmp_path / "broken", 4, 1)
    lines = [
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[-1])["loss"]
        for name in ("whole", "broken")
    ]
    assert lines[1] == pytest.approx(lines[0], abs=2e-4)
    path = tmp_path / "whole" / "clip_vit_mini.pt"
    assert path.stat().st_size < 6.1e6
    assert hasattr(load_model(path, CPU).visual, "class_embedding")
    open_clip.create_model("vit_mini", pretrained=str(path))


def test_another_model_is_refused():
    with pytest.raises(ValueError, match="--model: expected convnext_mini or vit_mini, got 'vit'"):
        build_model("vit")
