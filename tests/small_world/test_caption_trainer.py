"""Contrastive training of CLIP-mini, at a tiny size."""

import json

import numpy as np
import open_clip
import pytest
import torch

from stseg.engine import run_training, write_halved
from stseg.small_world import clip_judging as small_clip_eval
from stseg.small_world.caption_cells import cell_label_loss, matching_loss
from stseg.small_world.caption_trainer import CaptionRecipe, CaptionTrainer
from stseg.small_world.names import CLASS_NAMES

CPU = torch.device("cpu")
TINY = CaptionRecipe(
    steps=12, batch=12, objects=24, scenes=12, object_size=32, scene_size=48, phrases=8, lr=3e-3
)


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return small_clip_eval.build_model().eval()


def test_the_image_map_has_stride_16_and_stages_of_2_4_8_16(clip):
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert small_clip_eval.encode_cells(clip, images).shape == (2, 4, 6, 96)
        maps = clip.visual.forward_intermediates(images, indices=4)["image_intermediates"]
    assert [tuple(m.shape[2:]) for m in maps] == [(32, 48), (16, 24), (8, 12), (4, 6)]


def test_image_tower_and_whole_model_are_small_enough_to_ship(clip):
    assert sum(p.numel() for p in clip.visual.parameters()) <= 1.8e6
    assert sum(p.numel() for p in clip.parameters()) * 2 <= 7e6


def test_trimmed_texts_equal_the_full_context_of_open_clip(clip):
    texts = ["a photo of a striped red star.", "sky"]
    with torch.no_grad():
        ours = small_clip_eval.encode_texts(clip, texts)
        tokens = open_clip.get_tokenizer("convnext_mini")(texts)
        theirs = clip.encode_text(tokens, normalize=True)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_one_cell_pictures_have_the_image_embedding_of_open_clip(clip):
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        cell = small_clip_eval.encode_cells(clip, image)[0, 0, 0]
        whole = clip.encode_image(image, normalize=True)[0]
    torch.testing.assert_close(cell, whole, atol=1e-5, rtol=1e-5)


def test_cell_losses_vanish_where_cells_say_the_named_classes_and_not_elsewhere():
    named = torch.tensor([[True, True, False]])
    right = torch.full((1, 4, 3), -20.0)
    right[0, :3, 0] = 20.0
    right[0, 3, 1] = 20.0
    some, every = cell_label_loss(right, named, top_share=0.25)
    assert some.item() == pytest.approx(0, abs=1e-4)
    assert every.item() == pytest.approx(0, abs=1e-4)
    some, every = cell_label_loss(right, torch.tensor([[True, False, True]]), top_share=0.25)
    assert some.item() > 5
    assert every.item() > 5


def test_losses_of_a_know_nothing_are_those_of_chance():
    cells = torch.zeros(2, 4, 5)  # two pictures of four cells, five names
    named = torch.tensor([[True, True, False, False, False], [True, False, False, False, False]])
    some, every = cell_label_loss(cells, named, top_share=0.5)
    assert some.item() == pytest.approx((np.log(5 / 2) + np.log(5)) / 2)
    assert every.item() == pytest.approx(np.log(5))  # whatever the number of names in a caption
    true, unknown = torch.eye(4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    assert matching_loss(torch.zeros(4, 4), true, unknown).item() == pytest.approx(np.log(4))


def test_pairs_of_unknown_truth_take_no_part_in_the_matching_loss():
    scores = torch.tensor([[5.0, 1.0], [0.0, 5.0]], requires_grad=True)
    true, unknown = torch.eye(2, dtype=torch.bool), torch.tensor([[False, True], [False, False]])
    matching_loss(scores, true, unknown).backward()
    assert scores.grad[0, 1] == 0
    assert scores.grad[1, 0] != 0


def test_a_few_steps_lower_the_loss():
    trainer = CaptionTrainer(CaptionRecipe(**{**vars(TINY), "steps": 30}), CPU, workers=0)
    losses = [trainer.run_step()["loss"] for _ in range(20)]
    assert np.mean(losses[-5:]) < 0.93 * np.mean(losses[:5])


def test_a_resumed_run_takes_the_same_steps_as_an_unbroken_one(tmp_path):
    whole = CaptionTrainer(TINY, CPU, workers=0)
    expected = [whole.run_step()["loss"] for _ in range(6)]
    broken = CaptionTrainer(TINY, CPU, workers=0)
    first = [broken.run_step()["loss"] for _ in range(3)]
    torch.save(broken.state_dict(), tmp_path / "last.pt")
    resumed = CaptionTrainer(TINY, CPU, workers=0)
    resumed.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True))
    assert first + [resumed.run_step()["loss"] for _ in range(3)] == pytest.approx(expected)


def test_a_checkpoint_of_another_recipe_is_refused():
    trainer = CaptionTrainer(TINY, CPU, workers=0)
    state = trainer.state_dict() | {"recipe": {"steps": 1}}
    with pytest.raises(ValueError, match="expected a checkpoint of this run"):
        trainer.load_state_dict(state)


def test_training_writes_a_log_and_weights_that_open_clip_loads(tmp_path):
    recipe = CaptionRecipe(**{**vars(TINY), "steps": 3})
    run_training(CaptionTrainer(recipe, CPU, workers=0), tmp_path, eval_period=3, count=2)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 3
    assert 0 <= lines[-1]["miou_unseen"] <= 100
    loaded = open_clip.create_model("convnext_mini", pretrained=str(tmp_path / "clip_mini.pt"))
    assert small_clip_eval.encode_texts(loaded, ["a star"]).shape == (1, 96)


def test_dense_figures_are_perfect_where_every_pixel_is_right():
    counts = np.diag(np.arange(1, len(CLASS_NAMES) + 1))
    cells = np.ones((len(CLASS_NAMES), 2), int)
    assert set(small_clip_eval.summarise(counts, cells).values()) == {100.0}


def test_the_evaluate_command_prints_figures_of_saved_weights(tmp_path, caplog, clip):
    write_halved(clip, tmp_path / "clip_mini.pt")
    with caplog.at_level("INFO"):
        small_clip_eval.attribute_accuracy(clip, "dev", 2)
        figures = small_clip_eval.evaluate(clip, "dev", 2)
    assert {"miou_unseen", "cells_things", "accuracy_stuff"} <= set(figures)
