"""What can change, what answers depend on, asked of a model."""

import pytest
import torch
from torch import nn

from stseg.checkpoint.state import (
    AnswersDigest,
    changeable_names,
    changeable_state,
    weights_digest,
)
from stseg.modeling.meta_arch import STSeg
from tests.helpers.systems import CaptionFake, QueryFake
from tests.helpers.tiny_model import register, tiny_cfg


@pytest.fixture
def stseg(tmp_path):
    register(tmp_path)
    return lambda **changes: STSeg(tiny_cfg(**changes))


def first_parts(names):
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("finetune", ["full", "none"])
def test_frozen_encoders_cannot_change(stseg, finetune):
    names = changeable_names(stseg(MODEL__CLIP__FINETUNE=finetune))
    tuned = {"image_encoder"} if finetune == "full" else set()
    assert first_parts(names) == {"head", "dea"} | tuned


def test_a_text_tower_that_trains_can_change_and_so_can_buffers_beside():
    names = changeable_names(CaptionFake())
    assert {"text_encoder.layer.weight", "prototypes", "norm.running_mean"} <= names
    query = changeable_names(QueryFake())
    assert query == {"queries", "image_encoder.bias"}  # one tensor of a frozen encoder


def test_a_frozen_norm_and_what_lies_below_cannot_change():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)))
    model[0].requires_grad_(False)
    holder = nn.Module()
    holder.register_buffer("level", torch.zeros(1))
    model[0].add_module("holder", holder)  # without parameters it goes with what holds it
    names = changeable_names(model)
    assert {name.split(".")[0] for name in names} == {"1"}
    assert "1.0.running_var" in names


def test_going_back_to_the_state_undoes_training():
    model = CaptionFake().train()
    state, before = changeable_state(model), {k: v.clone() for k, v in model.state_dict().items()}
    for value in model.state_dict().values():
        value.add_(1)
    model.load_state_dict(state, strict=False)
    unlike = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert not unlike


def test_the_digest_is_that_of_all_tensors_and_sees_each_change(stseg):
    model, digest = stseg(), AnswersDigest()
    seen = {digest.of(model)}
    assert seen == {weights_digest(model.state_dict())} == {digest.of(model)}
    with torch.no_grad():
        for part in ("head.", "text_encoder.", "sam_encoder.", "image_encoder."):
            name = next(n for n, _ in model.named_parameters() if n.startswith(part))
            model.get_parameter(name).view(-1)[0] += 1
            seen.add(digest.of(model))
    assert len(seen) == 5
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["sam_encoder.encoder.patch_embed.proj.bias"] += 1
    model.load_state_dict(state)
    assert digest.of(model) == weights_digest(state) not in seen


def test_frozen_tensors_are_read_once(stseg, monkeypatch):
    model, digest, read = stseg(), AnswersDigest(), []
    digest.of(model)
    contiguous = torch.Tensor.contiguous
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda x: read.append(1) or contiguous(x))
    digest.of(model)
    assert len(read) == len(changeable_names(model)) < len(model.state_dict())
