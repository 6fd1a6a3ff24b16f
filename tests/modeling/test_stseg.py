"""The contract of the meta-architecture, on tiny encoders."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY, build_model

import stseg
from stseg.config import setup_cfg
from stseg.modeling.heads import CosineHead
from stseg.modeling.meta_arch.stseg import STSeg
from stseg.modeling.scores import LabelMap, resize
from stseg.structures import IGNORE_LABEL, Vocabulary
from tests.helpers.tiny_model import CLIP_NAME, SAM_NAME, VIT_NAME, tiny_cfg

CONFIGS = sorted(
    path
    for folder in ("stseg", "mini")
    for path in (Path(stseg.__file__).parents[1] / "configs" / folder).rglob("*.yaml")
    if not path.stem.endswith(("_cel", "_ebseg", "_pgseg"))  # other systems have their own tests
)
VOCABULARY = Vocabulary.parse("sky; tree; cat, kitten; road")


def build(**changes):
    torch.manual_seed(0)
    return STSeg(tiny_cfg(**changes))


def inputs(*sizes, vocabulary=VOCABULARY, labels=True):
    generator = torch.Generator().manual_seed(1)
    items = []
    for height, width in sizes:
        image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        item = {"image": image, "vocabulary": vocabulary}
        if labels:
            target = torch.randint(-1, len(vocabulary), (height, width), generator=generator)
            item["sem_seg"] = target
        items.append(item)
    return items


def test_it_is_registered_with_detectron2():
    assert META_ARCH_REGISTRY.get("STSeg") is STSeg
    assert isinstance(build_model(tiny_cfg()), STSeg)


@pytest.mark.parametrize("dea", [True, False])
@pytest.mark.parametrize("self_training", [True, False])
def test_the_four_rows_of_the_ablation_train(dea, self_training):
    model = build(MODEL__STSEG__DEA__ENABLED=dea, SELF_TRAINING__ENABLED=self_training).train()
    vocabulary = VOCABULARY.with_seen("sky; kitten")
    losses = model(inputs((64, 64), vocabulary=vocabulary))
    assert list(losses) == [f"loss_sem_seg_{i}" for i in range(4)]
    sum(losses.values()).backward()
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learning.values())
    assert {n.split(".")[0] for n in learning} == {"image_encoder", "head"} | (
        {"dea"} if dea else set()
    )
    assert any(n.startswith("sam_encoder") for n in model.state_dict()) == dea


def test_self_training_weighs_unseen_classes_more():
    items = inputs((64, 64), vocabulary=VOCABULARY.with_seen("sky; tree; cat; road"))
    plain = build().train()(items)["loss_sem_seg_0"]
    seen = build(SELF_TRAINING__ENABLED=True).train()(items)["loss_sem_seg_0"]
    none_seen = inputs((64, 64), vocabulary=VOCABULARY.with_seen("moon"))
    unseen = build(SELF_TRAINING__ENABLED=True).train()(none_seen)["loss_sem_seg_0"]
    torch.testing.assert_close(seen, 0.3 * plain)
    torch.testing.assert_close(unseen, 0.7 * plain)


def test_a_batch_of_mixed_sizes_equals_its_images_one_by_one():
    model = build().eval()
    items = inputs((64, 64), (40, 100), (128, 33), labels=False)
    with torch.no_grad():
        together = model(items)
        alone = [model([item])[0] for item in items]
    for both, one, item in zip(together, alone, items, strict=True):
        assert both["sem_seg"].shape == (4, *item["image"].shape[1:])
        torch.testing.assert_close(both["sem_seg"], one["sem_seg"], atol=1e-5, rtol=1e-4)


def test_mixed_sizes_train_in_one_batch_whose_padding_is_ignored():
    model, targets = build().train(), []
    model.criterion.register_forward_pre_hook(lambda _, args: targets.append(args[1]))
    items = inputs((64, 64), (40, 100))
    losses = model(items)
    assert all(loss.isfinite() for loss in losses.values())
    (target,) = targets
    assert torch.equal(target[0, :, :64], items[0]["sem_seg"])
    assert torch.equal(target[1, :40], items[1]["sem_seg"])
    assert (target[0, :, 64:] == IGNORE_LABEL).all() and (target[1, 40:] == IGNORE_LABEL).all()


def test_the_answer_has_the_size_asked_for():
    (item,) = inputs((64, 80), labels=False)
    with torch.no_grad():
        (out,) = build().eval()([{**item, "height": 30, "width": 50}])
    assert out["sem_seg"].shape == (4, 30, 50)
    assert (out["sem_seg"] >= 0).all()
    assert (out["sem_seg"] <= 1).all()


def test_class_order_permutes_the_answer():
    model = build().eval()
    (item,) = inputs((64, 64), labels=False)
    backwards = Vocabulary.parse("road; cat, kitten; tree; sky")
    with torch.no_grad():
        (ours,), (theirs,) = model([item]), model([{**item, "vocabulary": backwards}])
    torch.testing.assert_close(ours["sem_seg"], theirs["sem_seg"].flip(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 200])
def test_any_number_of_classes_is_served(count):
    vocabulary = Vocabulary.from_names([f"thing {i}" for i in range(count)])
    model = build(MODEL__SEM_SEG_HEAD__REJECTION_TOPK=2)
    (item,) = inputs((64, 64), vocabulary=vocabulary)
    assert model.train()([item])["loss_sem_seg_0"].isfinite()
    with torch.no_grad():
        assert model.eval()([item])[0]["sem_seg"].shape == (count, 64, 64)


def test_a_picture_without_any_label_gives_a_finite_loss():
    (item,) = inputs((64, 64))
    item["sem_seg"].fill_(IGNORE_LABEL)
    for ignored in ("negative", "masked"):
        losses = build(MODEL__LOSS__IGNORED=ignored).train()([item])
        assert all(loss.isfinite() for loss in losses.values())


def test_evaluating_between_training_steps_changes_nothing():
    model = build().train()
    items = inputs((64, 64))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    first = model(items)["loss_sem_seg_0"]
    with torch.no_grad():
        model.eval()(inputs((40, 50), labels=False))
    second = model.train()(items)["loss_sem_seg_0"]
    torch.testing.assert_close(first, second)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_the_state_dict_carries_the_whole_model():
    model = build().eval()
    torch.manual_seed(5)
    other = STSeg(tiny_cfg()).eval()
    other.load_state_dict(model.state_dict())
    (item,) = inputs((64, 64), labels=False)
    with torch.no_grad():
        torch.testing.assert_close(model([item])[0]["sem_seg"], other([item])[0]["sem_seg"])


def test_tiles_and_the_whole_image_agree_where_one_tile_is_the_image():
    (item,) = inputs((64, 64), labels=False)
    tiled = build(TEST__SLIDING_WINDOW__ENABLED=True, TEST__SLIDING_WINDOW__SIZE=[64, 64])
    with torch.no_grad():
        (ours,), (whole,) = tiled.eval()([item]), build().eval()([item])
    torch.testing.assert_close(ours["sem_seg"], whole["sem_seg"])


def test_tiles_serve_large_images():
    (item,) = inputs((150, 100), labels=False)
    tiled = build(TEST__SLIDING_WINDOW__ENABLED=True, TEST__SLIDING_WINDOW__SIZE=[64, 64])
    with torch.no_grad():
        assert tiled.eval()([item])[0]["sem_seg"].shape == (4, 150, 100)


def test_a_vit_tower_stands_in_for_the_convnext():
    model = build(MODEL__CLIP__NAME=VIT_NAME)
    losses = model.train()(inputs((64, 64)))
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())


def test_gradient_checkpointing_changes_no_gradient():
    grads = []
    for enabled in (False, True):
        model = build(MODEL__SEM_SEG_HEAD__GRADIENT_CHECKPOINTING=enabled).train()
        sum(model(inputs((64, 64))).values()).backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name])


def test_bf16_autocast_runs_and_stays_near():
    model = build().eval()
    (item,) = inputs((64, 64), labels=False)
    with torch.no_grad():
        (full,) = model([item])
        with torch.autocast("cpu", torch.bfloat16):
            (half,) = model([item])
    assert half["sem_seg"].dtype == torch.float32
    assert (half["sem_seg"] - full["sem_seg"]).abs().max() < 0.1


def test_without_dea_no_sam_is_built():
    model = build(MODEL__STSEG__DEA__ENABLED=False, MODEL__SAM__NAME="no such model")
    assert model.sam_encoder is None


def test_inputs_without_a_common_vocabulary_are_refused():
    model = build().eval()
    (first,) = inputs((64, 64), labels=False)
    with pytest.raises(ValueError, match="batched_inputs: .*'vocabulary'"):
        model([{"image": first["image"]}])
    with pytest.raises(ValueError, match="2 different ones"):
        model([first, {**first, "vocabulary": Vocabulary.parse("cat; dog")}])


def test_the_decoder_is_as_deep_as_the_model_has_templates():
    model = build(MODEL__TEXT__TEMPLATES=["single", "a {}."]).eval()
    assert model.head.embed.in_channels == 2
    (item,) = inputs((64, 64), labels=False)
    with torch.no_grad():
        assert model([item])[0]["sem_seg"].isfinite().all()
    model.text_encoder.templates = ("a {}.",)
    with pytest.raises(ValueError, match=r"cost: expected 2 prompts.*MODEL.TEXT.TEMPLATES.*got 1"):
        model([item])


def test_a_working_size_that_the_tower_cannot_divide_is_refused():
    with pytest.raises(ValueError, match=r"IMAGE_SIZE: expected multiples of 16.*Set \(48, 64\)"):
        STSeg(tiny_cfg(MODEL__CLIP__NAME=VIT_NAME, MODEL__STSEG__IMAGE_SIZE=[60, 64]))
    with pytest.raises(
        ValueError, match=r"IMAGE_SIZE_TEST: expected multiples of .*Set \(64, 64\)"
    ):
        build(MODEL__STSEG__IMAGE_SIZE_TEST=[90, 64])
    with pytest.raises(ValueError, match=r"IMAGE_SIZE_TEST: expected \[height, width\].* or \[\]"):
        setup_cfg(opts=["MODEL.STSEG.IMAGE_SIZE_TEST", "[64]"])


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_what_was_trained_by_a_softmax_answers_by_one(beta):
    changes = {"MODEL__STSEG__ENSEMBLE__BETA": beta}
    plain, exclusive = build(**changes), build(MODEL__LOSS__KIND="softmax", **changes).eval()
    (item,) = inputs((64, 64), labels=False)
    seen = torch.tensor([True, True, True, True])
    with torch.no_grad():
        features = plain.eval().encode([item["image"].float()]).tensors
        embeddings = plain.embed(VOCABULARY)
        raw = plain.logits(features, embeddings, seen)[0]
        for way in (exclusive.logits, exclusive.answer):
            found = way(features, embeddings, seen)
            found = found[0] if isinstance(found, tuple) else found
            torch.testing.assert_close(found.softmax(1), raw.softmax(1), atol=1e-5, rtol=1e-4)
        (whole,) = exclusive([item])
        (best,) = exclusive.label_maps([item])
    wanted = resize(raw.log_softmax(1), (64, 64))[0].softmax(0)
    torch.testing.assert_close(whole["sem_seg"], wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(best.confidence, wanted.amax(0), atol=1e-5, rtol=0)
    assert torch.equal(best.labels.long(), wanted.argmax(0))
    for one, two in zip(
        *(m.train().logits(features, embeddings) for m in (plain, exclusive)), strict=True
    ):
        assert torch.equal(one, two)


def test_evaluation_may_have_a_working_size_of_its_own():
    small, large = build(), build(MODEL__STSEG__IMAGE_SIZE_TEST=[96, 128])
    (item,) = inputs((80, 100))
    assert small.train()([item]) == large.train()([item])
    whole = build(MODEL__STSEG__IMAGE_SIZE=[96, 128])
    with torch.no_grad():
        answers = [model.eval()([item])[0]["sem_seg"] for model in (small, large, whole)]
    assert torch.equal(answers[1], answers[2]) and not torch.equal(answers[0], answers[1])


def test_a_config_from_before_templates_were_the_models_is_still_read(tmp_path):
    old = tmp_path / "config.yaml"
    old.write_text("MODEL: {SEM_SEG_HEAD: {NUM_PROMPTS: 80, HIDDEN_DIM: 64}}")
    cfg = setup_cfg(str(old), ["MODEL.SEM_SEG_HEAD.NUM_PROMPTS", "80"])
    assert "NUM_PROMPTS" not in cfg.MODEL.SEM_SEG_HEAD
    assert (cfg.MODEL.SEM_SEG_HEAD.HIDDEN_DIM, cfg.MODEL.TEXT.TEMPLATES) == (64, ["imagenet_80"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_builds_and_runs(path):
    changes = [
        "MODEL.CLIP.NAME",
        CLIP_NAME,
        "MODEL.CLIP.PRETRAINED",
        "random",
        "MODEL.TEXT.CACHE_DIR",
        "",
    ]
    changes += ["MODEL.SAM.NAME", SAM_NAME, "MODEL.SAM.CHECKPOINT", "random", "MODEL.DEVICE", "cpu"]
    changes += ["MODEL.STSEG.IMAGE_SIZE", [64, 64], "MODEL.SAM.INPUT_SIZE", 64]
    cfg = setup_cfg(str(path), changes)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    first, second = inputs((64, 64), (64, 64), labels=False)
    with torch.no_grad():
        one, two = (out["sem_seg"] for out in model([first, second]))
    assert one.shape == (4, 64, 64) and ((one >= 0) & (one <= 1)).all()
    assert one.std(dim=(1, 2)).min() > 0 and not torch.equal(one, two)  # it looks at the image
    assert isinstance(model, STSeg) and model.tiles is None
    without_dea = path.stem.startswith("sed") or (
        path.parent.name == "mini" and "dea" not in path.stem
    )
    assert (model.dea is None) == without_dea
    losses = model.train()(inputs((64, 64), vocabulary=VOCABULARY.with_seen("sky; kitten")))
    pull = ["loss_dea_pull"] if cfg.MODEL.STSEG.DEA.PULL_WEIGHT else []
    assert bool(pull) == (path.stem == "small_world_dea")
    maps = 1 if isinstance(model.head, CosineHead) else 4
    assert sorted(losses) == [*pull, *(f"loss_sem_seg_{i}" for i in range(maps))]
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())


def test_the_named_configs_are_shipped():
    names = {path.stem for path in CONFIGS}
    assert {"stseg_convnextB_768", "stseg_convnextL_768", "sed_convnextB_768"} <= names
    assert len(CONFIGS) >= 19


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("count", [1, 4])
def test_label_maps_are_the_best_classes_of_the_probabilities(windows, count):
    changes = {"TEST__SLIDING_WINDOW__ENABLED": windows, "TEST__SLIDING_WINDOW__SIZE": [40, 48]}
    model = build(**changes).eval()
    vocabulary = Vocabulary.parse(["sky", "tree", "cat", "road"][:count])
    items = inputs((64, 80), (30, 50), vocabulary=vocabulary, labels=False)
    items[0] |= {"height": 150, "width": 91}
    k = min(count, 2)
    with torch.no_grad():
        outputs, found = model(items), model.label_maps(items, k)
    for output, label_map in zip(outputs, found, strict=True):
        expected = LabelMap.of(output["sem_seg"], k)
        values = label_map.top_confidences
        torch.testing.assert_close(values, expected.top_confidences, atol=1e-5, rtol=0)
        chosen = output["sem_seg"].gather(0, label_map.top_labels.long())
        torch.testing.assert_close(chosen, values, atol=1e-5, rtol=0)
        assert label_map.labels.shape == output["sem_seg"].shape[1:]
    with pytest.raises(ValueError, match="k: expected 1 to"):
        model.label_maps(items, 5)
