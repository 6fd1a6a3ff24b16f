"""Exported weights: small, and as good as the checkpoint they come from."""

import logging

import open_clip
import pytest
import torch

from stseg.checkpoint import identify
from stseg.checkpoint.checkpointer import load_for_evaluation, spare_encoder_files
from stseg.checkpoint.export import export_weights
from stseg.checkpoint.reading import read_state_dict
from stseg.modeling.encoders import create_clip
from stseg.modeling.meta_arch.stseg import STSeg
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import CLIP_NAME, register, tiny_cfg, tiny_sam


@pytest.fixture
def cfg(tmp_path):
    """A config whose encoders have files."""
    register(tmp_path)
    torch.manual_seed(7)
    torch.save(create_clip(CLIP_NAME).state_dict(), tmp_path / "clip.pt")
    torch.save(tiny_sam().state_dict(), tmp_path / "sam.pth")
    cfg = tiny_cfg(
        MODEL__CLIP__PRETRAINED=str(tmp_path / "clip.pt"),
        MODEL__SAM__CHECKPOINT=str(tmp_path / "sam.pth"),
    )
    (tmp_path / "config.yaml").write_text(cfg.dump())  # as a run leaves it
    return cfg


@pytest.fixture
def model(cfg):
    return STSeg(cfg)


def test_the_export_holds_what_trains_in_half_the_bytes(model, tmp_path):
    torch.save({"model": model.state_dict(), "iteration": 7}, tmp_path / "model_final.pth")
    export_weights(str(tmp_path / "model_final.pth"), str(tmp_path / "small.pth"))
    state = read_state_dict(str(tmp_path / "small.pth"))
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(state) == trained
    assert all(value.dtype == torch.float16 for value in state.values())
    assert identify(state) == "stseg"


def test_a_model_loads_it_without_a_warning_and_keeps_its_frozen_parts(
    model, cfg, tmp_path, caplog
):
    torch.save({"model": model.state_dict()}, tmp_path / "model_final.pth")
    export_weights(str(tmp_path / "model_final.pth"), str(tmp_path / "small.pth"))
    other = STSeg(cfg)
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


@torch.no_grad()
def answer(model):
    image = torch.randint(0, 256, (3, 40, 50), generator=torch.Generator().manual_seed(1))
    item = {"image": image, "vocabulary": Vocabulary.parse("sky; tree; cat")}
    return model.eval()([item])[0]["sem_seg"]


def test_encoders_of_another_start_are_kept_and_the_file_works_alone(model, cfg, tmp_path):
    """As after a stage 2 with FINETUNE none on SED's tuned CLIP: no file has these towers."""
    with torch.no_grad():
        for name in ("text_encoder", "image_encoder", "sam_encoder"):
            for parameter in model.get_submodule(name).parameters():
                parameter.mul_(1.25)
    torch.save({"model": model.state_dict()}, tmp_path / "model_final.pth")
    small = str(tmp_path / "small.pth")
    assert export_weights(str(tmp_path / "model_final.pth"), small) == {}
    for gone in ("clip.pt", "sam.pth"):
        (tmp_path / gone).unlink()
    cfg.MODEL.WEIGHTS = small
    torch.manual_seed(1)
    alone = STSeg(spare_encoder_files(cfg))
    load_for_evaluation(alone, small)
    torch.testing.assert_close(answer(alone), answer(model), atol=5e-3, rtol=0)


@pytest.mark.parametrize("gone", ["clip.pt", "sam.pth"])
def test_a_part_whose_file_cannot_be_read_is_kept(model, tmp_path, gone):
    torch.save({"model": model.state_dict()}, tmp_path / "model_final.pth")
    (tmp_path / gone).unlink()
    left_out = export_weights(str(tmp_path / "model_final.pth"), str(tmp_path / "small.pth"))
    kept, other = ("text_encoder.", "sam_encoder.")[:: 1 if gone == "clip.pt" else -1]
    assert list(left_out) == [other]
    state = read_state_dict(str(tmp_path / "small.pth"))
    assert any(name.startswith(kept) for name in state)


@pytest.mark.parametrize(
    ("weights", "named", "left_out"),
    [("", False, True), ("stage_1.pth", False, False), ("", True, False)],
)
def test_a_clip_of_a_tag_is_left_out_only_after_a_run_from_it_and_never_fetched(
    model, cfg, tmp_path, monkeypatch, weights, named, left_out
):
    """A checkpoint of others, or of a run on other weights, may hold another text tower."""
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda _: ["a_tag"])
    create = open_clip.create_model

    def without_network(name, pretrained, **options):
        assert pretrained is None
        return create(name, pretrained=None, **options)

    monkeypatch.setattr(open_clip, "create_model", without_network)
    cfg.MODEL.CLIP.PRETRAINED, cfg.MODEL.WEIGHTS = "a_tag", weights
    (tmp_path / "config.yaml").write_text(cfg.dump())
    torch.save({"model": model.state_dict()}, tmp_path / "model_final.pth")
    config = str(tmp_path / "config.yaml") if named else ""
    found = export_weights(str(tmp_path / "model_final.pth"), str(tmp_path / "s.pth"), config)
    assert ("text_encoder." in found) == left_out and "sam_encoder." in found
