"""EBSeg beyond the contract, on tiny encoders."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

import stseg
from stseg.checkpoint import WeightFacts
from stseg.config import setup_cfg
from stseg.engine.optimizer import build_optimizer
from stseg.modeling.meta_arch.ebseg import EBSeg
from stseg.structures import IGNORE_LABEL, Vocabulary
from tests.helpers.tiny_model import CLIP_NAME, SAM_NAME, VIT_NAME, tiny_ebseg_cfg
from tests.modeling.test_stseg import VOCABULARY, inputs

SHIPPED = Path(stseg.__file__).parents[1] / "configs"
CONFIGS = [p for k in ("ebseg/*", "mini/*_ebseg") for p in sorted(SHIPPED.glob(f"{k}.yaml"))]
MARKED = VOCABULARY.with_seen("sky; cat")
POSITIONS = {"image_encoder.visual.positional_embedding", "sam_encoder.encoder.pos_embed"}


def build(**changes):
    torch.manual_seed(0)
    return EBSeg(tiny_ebseg_cfg(**changes))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_builds_and_runs(path):
    changes = ["MODEL.CLIP.NAME", VIT_NAME, "MODEL.CLIP.PRETRAINED", "random"]
    changes += ["MODEL.SAM.NAME", SAM_NAME, "MODEL.SAM.CHECKPOINT", "random"]
    changes += ["MODEL.TEXT.CACHE_DIR", "", "MODEL.DEVICE", "cpu"]
    torch.manual_seed(0)
    cfg = setup_cfg(str(path), changes)
    model = build_model(cfg).eval()
    assert isinstance(model, EBSeg) and model.tiles is None
    if path.parent.name == "ebseg":
        assert len(model.text_encoder.templates) == 14
        assert model.text_encoder.synonyms == "verbatim"
    (item,) = inputs((64, 64), vocabulary=MARKED)
    with torch.no_grad():
        (out,) = model([item])
    assert out["sem_seg"].shape == (4, 64, 64) and out["sem_seg"].std(dim=(1, 2)).min() > 0
    losses = model.train()([item])
    assert len(losses) == 4 * (cfg.MODEL.EBSEG.NUM_LAYERS + 1) + 1
    assert all(loss.isfinite() for loss in losses.values())


def test_the_named_configs_are_shipped():
    named = {"ebseg_vitB", "ebseg_vitL", "adapt_folder_vitB", "small_world_ebseg"}
    assert named <= {path.stem for path in CONFIGS}


def test_the_published_parts_train():
    learning = {n for n, p in build().named_parameters() if p.requires_grad}
    parts = ("map_fusion.", "pixel_decoder.", "mask_decoder.", "classifier.rest")
    assert {name for name in learning if not name.startswith(parts)} == POSITIONS


def test_positions_can_be_frozen_really_and_then_files_may_leave_the_encoders_out():
    model = build(MODEL__EBSEG__POSITIONS_TRAINED=False)
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert not learning & POSITIONS
    encoders = {"image_encoder.", "text_encoder.", "sam_encoder."}
    assert set(model.own_files) == encoders and set(build().own_files) == {"text_encoder."}
    losses = model.train()(inputs((64, 64)))
    sum(losses.values()).backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == learning


def test_weight_decay_spares_norms_embeddings_and_positions_only():
    cfg = tiny_ebseg_cfg(SOLVER__WEIGHT_DECAY=0.05)
    model = EBSeg(cfg)
    names = {p: n for n, p in model.named_parameters()}
    groups = build_optimizer(cfg, model).param_groups
    assert {group["lr"] for group in groups} == {cfg.SOLVER.BASE_LR}
    spared = {names[p] for g in groups if g["weight_decay"] == 0 for p in g["params"]}
    decayed = {names[p] for g in groups if g["weight_decay"] == 0.05 for p in g["params"]}
    assert spared | decayed == {n for n, p in model.named_parameters() if p.requires_grad}
    embeddings = {f"mask_decoder.{name}.weight"
                  for name in ("query_feats", "query_positions", "level_embed")}  # fmt: skip
    assert spared >= POSITIONS | embeddings | {"mask_decoder.norm.bias"}
    assert decayed >= {
        "classifier.rest",
        "map_fusion.projections.0.0.weight",
        "mask_decoder.mask_mlp.0.bias",
        "mask_decoder.region_embedding.scale",
        "pixel_decoder.level_embed",
    }


def test_clips_upper_blocks_are_asked_once_where_nobody_learns(monkeypatch):
    model, asked = build(), []
    ask = model.image_encoder.ask
    monkeypatch.setattr(
        model.image_encoder, "ask", lambda *args: asked.append(len(asked)) or ask(*args)
    )
    (item,) = inputs((64, 64))
    with torch.no_grad():
        model.eval()([item])
        assert len(asked) == 1
        model.train()([item])
    assert len(asked) == 1 + 4


def test_an_image_without_labels_leaves_the_structure_of_the_others():
    model = build().train()
    first, second = inputs((64, 64), (64, 64))
    second["sem_seg"] = torch.full_like(second["sem_seg"], IGNORE_LABEL)
    torch.manual_seed(3)
    alone = model([first])
    torch.manual_seed(3)
    both = model([first, second])
    assert both["loss_ssc"] > 0
    torch.testing.assert_close(both["loss_ssc"], alone["loss_ssc"])
    assert both["loss_ce"] != alone["loss_ce"]  # its queries say "no object"


def test_structure_is_that_of_the_batchs_words_whatever_was_asked_before():
    items = inputs((64, 64), vocabulary=Vocabulary.parse("sky; tree; cat; road"))
    losses = []
    for others in (None, "moon; sun"):
        model = build()
        if others:
            with torch.no_grad():
                model.eval()([{**items[0], "vocabulary": Vocabulary.parse(others)}])
        torch.manual_seed(3)
        losses.append(model.train()(items)["loss_ssc"])
    assert torch.equal(*losses) and losses[0] > 0
    assert "loss_ssc" not in build(MODEL__EBSEG__SSC_WEIGHT=0.0).train()(items)


@pytest.mark.parametrize("ignored", ["negative", "masked"])
def test_masks_lie_in_the_frame_of_the_padded_batch(ignored):
    model, seen = build(MODEL__LOSS__IGNORED=ignored).train(), []
    model.criterion.register_forward_pre_hook(lambda _, args: seen.append(args))
    items = inputs((64, 50), (40, 100))
    model(items)
    rounds, targets = seen[0]
    assert rounds[0].mask_logits.shape[-2:] == (16, 32)
    for item, target in zip(items, targets, strict=True):
        height, width = item["sem_seg"].shape
        assert target.masks.shape == (4, 64, 128) and target.labels.tolist() == [0, 1, 2, 3]
        assert torch.equal(target.masks[2, :height, :width], item["sem_seg"] == 2)
        assert not target.masks[:, height:].any() and not target.masks[:, :, width:].any()
        if ignored == "negative":
            assert target.known is None
            continue
        assert torch.equal(target.known[:height, :width], item["sem_seg"] != IGNORE_LABEL)
        assert not target.known[height:].any() and not target.known[:, width:].any()


def test_stage_2_weighs_masks_by_whether_stage_1_saw_their_class():
    (item,) = inputs((64, 64), vocabulary=MARKED)
    found = []
    for enabled in (False, True):
        changes = {"SELF_TRAINING__ENABLED": enabled, "SELF_TRAINING__ALPHA": 0.5}
        model = build(**changes).train()
        torch.manual_seed(3)
        found.append(model([item]))
    for name, loss in found[0].items():
        factor = 0.5 if name.startswith(("loss_mask", "loss_dice")) else 1
        if name == "loss_ssc" or factor < 1:
            torch.testing.assert_close(found[1][name], factor * loss)
        else:
            assert found[1][name] != loss
    with pytest.raises(ValueError, match=r"vocabulary.seen.*with_seen"):
        model(inputs((64, 64)))


def test_seen_marks_change_the_answer_and_come_with_the_weights():
    model = build().eval()
    model.balance = replace(model.balance, alpha=0.0, beta=0.9, gamma=0.1)
    (item,) = inputs((64, 64))
    answers = {}
    with torch.no_grad():
        for marks in ("sky; tree; cat; road", "moon"):
            words = VOCABULARY.with_seen(marks)
            (answers[marks],) = model([{**item, "vocabulary": words}])
        (assumed,) = model([item])  # the published weights knew all but kittens by that name
        model.facts = WeightFacts(trained_on=(("moon",),))
        (learnt,) = model([item])
    all_seen, none_seen = (x["sem_seg"] for x in answers.values())
    assert not torch.allclose(all_seen, none_seen)
    assert torch.equal(assumed["sem_seg"], all_seen)
    assert torch.equal(learnt["sem_seg"], none_seen)


def test_several_names_of_a_class_count_as_the_best():
    model, asked = build(MODEL__TEXT__SYNONYMS="max").train(), []
    model.criterion.register_forward_pre_hook(lambda _, args: asked.append(args[0][-1]))
    for words in ("cat, kitten; tree; sky; sea", "cat; kitten; tree; sky; sea"):
        model(inputs((64, 64), vocabulary=Vocabulary.parse(words)))
    grouped, plain = (x.class_logits["loss_ce"] for x in asked)
    torch.testing.assert_close(grouped[..., 0], plain[..., :2].amax(-1))
    torch.testing.assert_close(grouped[..., 1:], plain[..., 2:])


def test_bf16_runs_and_stays_near():
    (item,) = inputs((64, 64))
    with torch.no_grad():
        (full,), (half,) = build().eval()([item]), build(MODEL__DTYPE="bf16").eval()([item])
    assert half["sem_seg"].dtype == torch.float32
    assert (half["sem_seg"] - full["sem_seg"]).abs().mean() < 0.05


def test_windows_serve_large_pictures():
    (item,) = inputs((100, 70))
    with torch.no_grad():
        tiled = build(TEST__SLIDING_WINDOW__ENABLED=True, TEST__SLIDING_WINDOW__SIZE=[64, 64])
        (out,), (best,) = tiled.eval()([item]), tiled.label_maps([item])
    assert out["sem_seg"].shape == (4, 100, 70)
    values = out["sem_seg"].gather(0, best.top_labels.long())
    torch.testing.assert_close(values, best.top_confidences, atol=1e-5, rtol=0)


def test_a_tower_that_is_no_plain_vit_is_refused():
    with pytest.raises(ValueError, match=r"MODEL.CLIP.NAME: expected a ViT of CLIP"):
        build(MODEL__CLIP__NAME=CLIP_NAME)


@pytest.mark.parametrize(
    ("key", "value"),
    [("HIDDEN_DIM", 40), ("CLIP_SCALE", 0.0), ("NUM_QUERIES", 0), ("ALPHA", 1.5)],
)
def test_a_value_that_cannot_work_is_refused_by_its_key(key, value):
    with pytest.raises(ValueError, match=f"MODEL.EBSEG.{key}: expected "):
        setup_cfg(opts=[f"MODEL.EBSEG.{key}", value])
