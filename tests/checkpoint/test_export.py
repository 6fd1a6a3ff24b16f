"""Exported weights: small, and as good as the checkpoint they come from."""

import logging

import pytest
import torch

from stseg.checkpoint import identify
from stseg.checkpoint.checkpointer import load_for_evaluation
from stseg.checkpoint.export import export_weights
from stseg.checkpoint.reading import read_state_dict
from stseg.modeling.meta_arch.stseg import STSeg
from tests.helpers.tiny_model import register, tiny_cfg


@pytest.fixture
def model(tmp_path):
    register(tmp_path)
    torch.manual_seed(0)
    (tmp_path / "config.yaml").write_text(tiny_cfg().dump())  # as a run leaves it
    return STSeg(tiny_cfg())


def test_the_export_holds_what_trains_in_half_the_bytes(model, tmp_path):
    torch.save({"model": model.state_dict(), "iteration": 7}, tmp_path / "model_final.pth")
    export_weights(str(tmp_path / "model_final.pth"), str(tmp_path / "small.pth"))
    state = read_state_dict(str(tmp_path / "small.pth"))
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(state) == trained
    assert all(value.dtype == torch.float16 for value in state.values())
    assert identify(state) == "stseg"


def test_a_model_loads_it_without_a_warning_and_keeps_its_frozen_parts(model, tmp_path, caplog):
    torch.save({"model": model.state_dict()}, tmp_path / "model_final.pth")
    export_weights(str(tmp_path / "model_final.pth"), str(tmp_path / "small.pth"))
    other = STSeg(tiny_cfg())
    text = other.text_encoder.tower.clip.text_projection.clone()
    with caplog.at_level(logging.WARNING):
        load_for_evaluation(other, str(tmp_path / "small.pth"))
    assert not [r for r in caplog.records if "fvcore" in r.name]
    torch.testing.assert_close(other.text_encoder.tower.clip.text_projection, text)
    ours, theirs = other.head.embed.weight, model.head.embed.weight
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_the_moving_average_is_what_is_exported(model, tmp_path):
    average = {"head.embed.bias": torch.full_like(model.head.embed.bias, 3.0)}
    torch.save({"model": model.state_dict(), "ema": average}, tmp_path / "model_final.pth")
    export_weights(str(tmp_path / "model_final.pth"), str(tmp_path / "small.pth"))
    assert (read_state_dict(str(tmp_path / "small.pth"))["head.embed.bias"] == 3).all()


def test_a_checkpoint_that_does_not_fit_its_config_is_not_exported(model, tmp_path):
    state, source = model.state_dict(), tmp_path / "model_final.pth"
    first = next(name for name in state if name.startswith("head."))
    torch.save({"model": {first: state[first]}}, source)
    with pytest.raises(ValueError, match=r"source: expected the tensors of STSeg .* missing in"):
        export_weights(str(source), str(tmp_path / "small.pth"))
    torch.save({"model": state}, source)
    other = tmp_path / "other.yaml"
    other.write_text(tiny_cfg(MODEL__STSEG__DEA__ENABLED=False).dump())
    with pytest.raises(ValueError, match=r"would fit a config with MODEL.STSEG.DEA.ENABLED True"):
        export_weights(str(source), str(tmp_path / "small.pth"), str(other))
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"config.yaml beside it, or --config-file"):
        export_weights(str(source), str(tmp_path / "small.pth"))
    assert not (tmp_path / "small.pth").exists()


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.pth"):
        export_weights(str(tmp_path / "absent.pth"), str(tmp_path / "small.pth"))
