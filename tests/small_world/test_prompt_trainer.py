"""Training of SAM-mini at a tiny size, and the rough masks and prompts it learns from."""

import json

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam

from stseg.engine import run_training
from stseg.modeling.encoders.sam import create_sam
from stseg.modeling.encoders.sam_mini import build_sam_mini
from stseg.small_world import prompt_trainer as small_sam
from stseg.small_world import sam_judging as small_sam_eval
from stseg.small_world import sam_looks as small_sam_looks
from stseg.small_world import sam_prompts as small_sam_data
from stseg.small_world.prompt_trainer import KINDS, PromptRecipe, PromptTrainer
from stseg.small_world.scenes import render

CPU = torch.device("cpu")
TINY = PromptRecipe(
    steps=6, region_steps=1, joint_steps=2, batch=2, region_batch=2, scenes=4, warmup=2
)


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return build_sam_mini()


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Connected parts of some scenes."""
    parts = [p for i in range(6) for p in small_sam_data.connected_parts(render(7, i).label_map)]
    return np.stack(parts)


def test_parts_are_connected_and_of_one_class():
    label_map = np.zeros((32, 32), np.uint8)
    label_map[2:10, 2:10] = label_map[20:30, 20:30] = 5
    label_map[15, 15] = 6
    parts = small_sam_data.connected_parts(label_map)
    assert sorted(int(p.sum()) for p in parts) == [64, 100, 32 * 32 - 64 - 100 - 1]


def test_rough_masks_are_wrong_but_not_lost(truth):
    rough = small_sam_data.degrade(truth, np.random.default_rng(0))
    ious = np.array([small_sam_data.iou(a, b) for a, b in zip(rough, truth, strict=True)])
    assert ious.min() > 0.15
    assert 0.55 < ious.mean() < 0.85
    assert all(len(small_sam_data.connected_parts(m.astype(np.uint8), 1)) >= 1 for m in rough)


def test_damage_leaks_and_holes_both_occur(truth):
    rough = small_sam_data.degrade(truth, np.random.default_rng(0))
    leaked, lost = (rough & ~truth).sum((1, 2)), (truth & ~rough).sum((1, 2))
    assert (leaked > 0.1 * truth.sum((1, 2))).mean() > 0.2
    assert (lost > 0.1 * truth.sum((1, 2))).mean() > 0.2


def test_points_lie_on_their_side_of_the_rough_mask():
    rough = np.zeros((128, 128), bool)
    rough[30:90, 40:60] = rough[30:50, 40:100] = True
    for seed in range(20):
        rng = np.random.default_rng(seed)
        xy, labels = small_sam_data.draw_points(rough, rough, rng)
        inside = rough[xy[:, 1].astype(int), xy[:, 0].astype(int)]
        assert (labels == 1).any()
        assert inside[labels == 1].all()
        assert not inside[labels == 0].any()


def test_boxes_of_careless_hands_stay_near_and_inside_the_picture():
    rough = np.zeros((128, 128), bool)
    rough[10:50, 100:128] = True
    for seed in range(20):
        box = small_sam_data.draw_box(rough, np.random.default_rng(seed))
        assert np.abs(box - [100, 10, 128, 50]).max() < 20
        assert 0 <= box.min() <= box.max() <= 128


def test_mask_prompts_are_positive_inside_and_negative_outside():
    rough = np.zeros((128, 128), bool)
    rough[32:96, 32:96] = True
    for seed in range(20):
        logits = small_sam_data.mask_prompt(rough, 64, np.random.default_rng(seed))
        assert logits.shape == (1, 64, 64)
        assert logits.dtype == np.float32
        assert logits[0, 32, 32] > 0.5
        assert logits[0, 4, 4] < -0.5


def test_looks_change_colours_not_shape_or_range():
    image = render(7, 0).image
    looks = [small_sam_looks.change_look(image, np.random.default_rng(i)) for i in range(30)]
    for look in looks:
        assert look.shape == image.shape
        assert look.dtype == np.float32
        assert 0 <= look.min() <= look.max() <= 255
    assert np.mean([np.abs(look - image).mean() > 15 for look in looks]) > 0.7


def test_a_batch_holds_every_kind_of_prompt_as_sam_takes_it(sam):
    pool = small_sam_data.build_scene_pool(4, workers=0)
    low = sam.prompt_encoder.mask_input_size[0]
    batch = small_sam.draw_batch(pool, TINY, 1, low, CPU)
    assert batch.images.shape == (2, 3, 128, 128)
    for kind, prompt, target in zip(KINDS, batch.prompts, batch.targets, strict=True):
        assert ("points" in kind) == (prompt["points"] is not None)
        assert ("box" in kind) == (prompt["boxes"] is not None)
        assert ("mask" in kind) == (prompt["masks"] is not None)
        assert target.shape == (2, 1, low, low)
    assert batch.label_maps.shape == (2, low, low)
    again = small_sam.draw_batch(pool, TINY, 1, low, CPU)
    torch.testing.assert_close(batch.images, again.images, rtol=0, atol=0)


def test_prompts_of_many_pictures_at_once_get_the_answers_of_the_stock_decoder(sam):
    embedding = sam.image_encoder(torch.randn(2, 3, 128, 128))
    boxes = torch.tensor([[10.0, 20, 60, 70], [30, 30, 100, 90]])
    masks = torch.randn(2, 1, *sam.prompt_encoder.mask_input_size)
    ours, ious = small_sam_eval.predict_masks(sam, embedding, None, boxes, masks)
    for i in range(2):
        sparse, dense = sam.prompt_encoder(None, boxes[i : i + 1], masks[i : i + 1])
        pe = sam.prompt_encoder.get_dense_pe()
        expected = sam.mask_decoder(embedding[i : i + 1], pe, sparse, dense, multimask_output=True)
        torch.testing.assert_close(ours[i, 1:], expected[0][0])
        torch.testing.assert_close(ious[i, 1:], expected[1][0])


def test_right_answers_cost_little_and_wrong_ones_much():
    target = torch.zeros(1, 1, 8, 8)
    target[..., 2:6, 2:6] = 1
    right = (target * 2 - 1) * 20
    loss, overlap = small_sam.answer_losses(torch.cat([right, -right], 1), target)
    assert loss[0, 0] < 0.01
    assert loss[0, 1] > 5
    assert overlap.tolist() == [[1.0, 0.0]]


def test_region_loss_vanishes_where_regions_differ_and_is_chance_where_they_do_not():
    label_maps = torch.zeros(1, 8, 8, dtype=torch.long)
    label_maps[:, :, 4:] = 3
    apart = torch.zeros(1, 2, 8, 8)
    apart[:, 0, :, :4] = apart[:, 1, :, 4:] = 1
    assert small_sam.region_loss(apart, label_maps) < 1e-4
    assert small_sam.region_loss(torch.ones(1, 2, 8, 8), label_maps) == pytest.approx(np.log(2))


def test_small_regions_count_as_much_as_large_ones():
    label_maps = torch.zeros(1, 32, 32, dtype=torch.long)
    label_maps[:, :8, :8] = 1
    features = torch.zeros(1, 2, 32, 32)
    features[:, 0] = 1
    features[:, :, :4, :8] = torch.tensor([0.0, 1.0])[:, None, None]  # half of the small one
    # Half of the small region is lost in the large one: half of one region of two, not 3 % of all.
    assert small_sam.region_loss(features, label_maps) == pytest.approx(0.9, abs=0.2)


def test_a_resumed_run_takes_the_same_steps_as_an_unbroken_one(tmp_path):
    whole = PromptTrainer(TINY, CPU, workers=0)
    expected = [whole.run_step()["loss"] for _ in range(3)]
    assert np.isfinite(expected).all()
    broken = PromptTrainer(TINY, CPU, workers=0)
    first = [broken.run_step()["loss"] for _ in range(2)]
    torch.save(broken.state_dict(), tmp_path / "last.pt")
    resumed = PromptTrainer(TINY, CPU, workers=0)
    resumed.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True))
    assert [*first, resumed.run_step()["loss"]] == pytest.approx(expected)


def test_a_checkpoint_of_another_recipe_is_refused():
    trainer = PromptTrainer(TINY, CPU, workers=0)
    with pytest.raises(ValueError, match="expected a checkpoint of this run"):
        trainer.load_state_dict(trainer.state_dict() | {"recipe": {"steps": 1}})


def test_training_writes_a_log_and_weights_that_load(tmp_path):
    recipe = PromptRecipe(**{**vars(TINY), "steps": 2})
    run_training(PromptTrainer(recipe, CPU, workers=0), tmp_path, eval_period=2, count=1)
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 2
    assert {"rough", "clean_mask+box+points", "look_mask"} <= set(line)
    path = tmp_path / "sam_mini.pt"
    assert path.stat().st_size <= 3.6e6
    assert not create_sam("mini", str(path)).training


def test_true_masks_pass_the_low_resolution_frame_well_and_the_best_foretold_answer_is_taken():
    sam = create_sam("mini", "stseg://small_world/sam_mini.pt").eval()
    figures = small_sam_eval.evaluate(sam, "dev", 2)
    assert figures["frame"] > 90
    assert figures["rough"] < figures["clean_mask+box"] < figures["frame"]
    for look in ("clean", "look"):  # another choice of the three costs twice as much
        missed = figures[f"{look}_best"] - figures[f"{look}_mask+box+points"]
        assert 0 <= missed < 4
