"""Weights that do not fit are refused, with what differs and the config they would fit."""

import logging

import pytest
import torch
from torch import nn

from stseg.checkpoint.checkpointer import (
    Checkpointer,
    check_weights,
    load_for_evaluation,
    spare_encoder_files,
)
from stseg.checkpoint.fit import check_fit, config_of, shapes_of
from stseg.checkpoint.reading import read_checkpoint
from stseg.config import add_stseg_config, setup_cfg
from stseg.modeling.meta_arch.stseg import STSeg
from tests.helpers.systems import CaptionFake
from tests.helpers.tiny_model import register, tiny_cfg

SHIPPED = "stseg://small_world/stseg_mini.pth"


@pytest.fixture
def tiny(tmp_path):
    register(tmp_path)
    return lambda **changes: STSeg(tiny_cfg(**changes))


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def message(model, state, tmp_path):
    """What the refusal says; nothing of the model may have changed."""
    path, before = tmp_path / "weights.pth", state_of(model)
    torch.save({"model": state}, path)
    with pytest.raises(ValueError) as caught:
        load_for_evaluation(model, str(path))
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    text = str(caught.value)
    assert text.startswith("MODEL.WEIGHTS: expected the tensors of STSeg as configured, got ")
    assert str(path) in text
    return text


def test_every_missing_tensor_counts_and_the_first_are_named(tiny, tmp_path):
    model = tiny()
    state = state_of(model)
    gone = [name for name in state if name.startswith("head.stages.1.")]
    for name in gone:
        del state[name]
    text = message(model, state, tmp_path)
    assert f"{len(gone)} tensors missing in the file ({gone[0]}, {gone[1]}" in text
    assert "the file is whole" in text  # no config fits a file that lacks a stage


def test_one_tensor_of_all_is_not_enough(tiny, tmp_path):
    model = tiny()
    text = message(model, {"head.head.bias": model.head.head.bias.detach()}, tmp_path)
    assert "tensors missing in the file" in text


def test_other_shapes_name_tensor_both_shapes_and_the_keys_that_would_fit(tiny, tmp_path):
    other = tiny(MODEL__SEM_SEG_HEAD__HIDDEN_DIM=64, MODEL__SEM_SEG_HEAD__KERNEL_SIZE=5)
    text = message(tiny(), state_of(other), tmp_path)
    assert "head.embed.weight: (64, 80, 7, 7) in the file, (32, 80, 7, 7) in the model" in text
    assert "would fit a config with MODEL.SEM_SEG_HEAD.HIDDEN_DIM 64, " in text
    assert "MODEL.SEM_SEG_HEAD.KERNEL_SIZE 5." in text


def test_dea_in_the_file_alone_or_in_the_model_alone(tiny, tmp_path):
    plain = tiny(MODEL__STSEG__DEA__ENABLED=False)
    text = message(plain, state_of(tiny()), tmp_path)
    assert "without a place in the model (" in text
    assert "would fit a config with MODEL.STSEG.DEA.ENABLED True." in text
    text = message(tiny(), state_of(plain), tmp_path)
    assert "would fit a config with MODEL.STSEG.DEA.ENABLED False." in text


def test_a_gate_and_guidance_by_sam_are_told(tiny, tmp_path):
    keys = {f"MODEL__STSEG__DEA__{key}_ENABLED": True for key in ("GATE", "GUIDANCE")}
    text = message(tiny(), state_of(tiny(**keys)), tmp_path)
    assert "DEA.GATE_ENABLED True, MODEL.STSEG.DEA.GUIDANCE_ENABLED True." in text


def test_other_templates_are_told_by_their_number_or_the_set_that_has_it(tiny, tmp_path):
    usual, two = tiny(), tiny(MODEL__TEXT__TEMPLATES=["single", "a {}."])
    assert "MODEL.TEXT.TEMPLATES ['imagenet_80']." in message(two, state_of(usual), tmp_path)
    assert "MODEL.TEXT.TEMPLATES ['2 templates']." in message(usual, state_of(two), tmp_path)


def test_a_frozen_part_may_be_left_out_whole_but_not_in_part(tiny, tmp_path):
    model = tiny()
    state = {n: v for n, v in state_of(model).items() if not n.startswith("text_encoder.")}
    torch.save({"model": state}, tmp_path / "whole.pth")
    load_for_evaluation(model, str(tmp_path / "whole.pth"))
    name = "text_encoder.tower.clip.text_projection"
    state[name] = model.state_dict()[name]
    assert "missing in the file (text_encoder.tower.clip." in message(model, state, tmp_path)


def test_a_moving_average_of_another_model_is_refused(tmp_path):
    for average in ({"weight": torch.zeros(3, 3)}, {"other": torch.zeros(2)}):
        model = nn.Linear(2, 2)
        torch.save({"model": model.state_dict(), "ema": average}, tmp_path / "m.pth")
        with pytest.raises(ValueError, match="ema: expected averages of parameters of Linear"):
            load_for_evaluation(model, str(tmp_path / "m.pth"))


def test_training_alone_may_start_from_what_fits_and_only_when_told(tmp_path, caplog):
    torch.save({"model": {"0.weight": torch.ones(2, 2), "9.x": torch.ones(1)}}, tmp_path / "a.pth")
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    checkpointer = Checkpointer(model)
    with pytest.raises(ValueError, match="3 tensors missing"):
        checkpointer.load(str(tmp_path / "a.pth"))
    checkpointer.partial = True
    with caplog.at_level(logging.WARNING):
        checkpointer.load(str(tmp_path / "a.pth"))
    assert (model[0].weight == 1).all()
    assert "1.weight" in caplog.text or "1.{bias, weight}" in caplog.text


def test_no_weights_are_refused_unless_random_is_written_out(tmp_path, caplog):
    model = nn.Linear(2, 2)
    for refused in (lambda: check_weights(""), lambda: load_for_evaluation(model, "")):
        with pytest.raises(ValueError, match=r"MODEL.WEIGHTS: expected a file .* write 'random'"):
            refused()
    before = model.weight.clone()
    load_for_evaluation(model, "random")
    assert torch.equal(before, model.weight) and "mean nothing" in caplog.text
    with pytest.raises(FileNotFoundError, match=r"--resume: expected a run's checkpoint"):
        load_for_evaluation(model, "random", str(tmp_path))


def test_the_shapes_of_the_shipped_weights_tell_their_config():
    shapes = shapes_of(read_checkpoint(SHIPPED)["model"])
    cfg = setup_cfg("configs/mini/stseg_mini.yaml", device="cpu")
    found = config_of(shapes)
    assert len(found) == 10 and found["MODEL.CLIP.NAME"] == "convnext_mini"
    for key, value in found.items():
        wanted = cfg
        for part in key.split("."):
            wanted = wanted[part]
        assert wanted == value, key


def test_a_model_of_its_own_kind_fits_itself(tiny):
    model = tiny()
    check_fit(model, model.state_dict(), "MODEL.WEIGHTS", "its own")


def test_a_file_with_whole_encoders_spares_their_own_files(tiny, tmp_path, caplog):
    """SED's files hold CLIP, a training's checkpoint SAM as well."""
    model, cfg = tiny(), tiny_cfg(MODEL__SAM__CHECKPOINT="", MODEL__CLIP__PRETRAINED="")
    torch.save({"model": model.state_dict()}, tmp_path / "all.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "all.pth")
    spared = spare_encoder_files(cfg)
    caplog.clear()
    again = STSeg(spared)
    assert not caplog.records  # nothing is random in the end
    load_for_evaluation(again, cfg.MODEL.WEIGHTS)
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in model.state_dict().items())
    assert cfg.MODEL.SAM.CHECKPOINT == ""
    trained = {n: v for n, v in model.state_dict().items() if not n.startswith("sam_encoder.")}
    torch.save({"model": trained}, tmp_path / "no_sam.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "no_sam.pth")
    with pytest.raises(ValueError, match=r"MODEL.SAM.CHECKPOINT: expected SAM's file"):
        STSeg(spare_encoder_files(cfg))


@pytest.mark.parametrize("gone", ["image_encoder.", "text_encoder."])
def test_a_file_with_one_of_clips_towers_leaves_clips_own_file_needed(tiny, tmp_path, gone):
    state = {n: v for n, v in tiny().state_dict().items() if not n.startswith(gone)}
    torch.save({"model": state}, tmp_path / "part.pth")
    cfg = tiny_cfg(MODEL__WEIGHTS=str(tmp_path / "part.pth"), MODEL__CLIP__PRETRAINED="clip.pt")
    assert spare_encoder_files(cfg).MODEL.CLIP.PRETRAINED == "clip.pt"


@pytest.mark.parametrize("key", ["MODEL.SAM.CHECKPOINT", "MODEL.CLIP.PRETRAINED"])
def test_random_encoders_must_be_written_out(tiny, key, caplog):
    with pytest.raises(ValueError, match=rf"{key}: expected .*'random'"):
        tiny(**{key.replace(".", "__"): ""})
    tiny()
    assert f"{key} is 'random'" in caplog.text


def test_no_shipped_config_asks_for_random_weights():
    from tests.engine.test_setup import CONFIGS

    for path in CONFIGS:
        model = setup_cfg(path, device="cpu").MODEL
        assert "random" not in (model.WEIGHTS, model.CLIP.PRETRAINED, model.SAM.CHECKPOINT)
        assert not model.PARTIAL_WEIGHTS_ENABLED
        assert model.CLIP.PRETRAINED
    assert add_stseg_config


def test_only_parts_that_a_system_names_may_be_left_out(tmp_path):
    model = CaptionFake()  # its text tower trains, and has no file of its own
    rest = {n: v for n, v in model.state_dict().items() if not n.startswith("text_encoder.")}
    torch.save({"model": rest}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"2 tensors missing in the file \(text_encoder\.layer"):
        load_for_evaluation(model, str(tmp_path / "part.pth"))
