"""What DEA can be given against fitting the source at the target's cost; each is off by default."""

import pytest
import torch
from torch.nn import functional as F

from stseg.config import setup_cfg
from stseg.modeling.layers.dea import DEA, align_map
from stseg.modeling.layers.sam_guidance import SamGuidance
from stseg.modeling.meta_arch.stseg import STSeg
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import tiny_cfg

VOCABULARY = Vocabulary.parse("sky; tree; cat, kitten; road")
ALL = {
    "GATE_ENABLED": True,
    "GUIDANCE_ENABLED": True,
    "ANTIALIAS_ENABLED": True,
    "PULL_WEIGHT": 0.5,
}


def build(**dea):
    torch.manual_seed(0)
    changes = {f"MODEL__STSEG__DEA__{key}": value for key, value in dea.items()}
    return STSeg(tiny_cfg(MODEL__TEXT__TEMPLATES=["single"], **changes))


def item(labels=True):
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8)
    target = {"sem_seg": torch.randint(0, 4, (64, 64), generator=generator)}
    return {"image": image, "vocabulary": VOCABULARY, **(target if labels else {})}


def answer(model):
    with torch.no_grad():
        return model.eval()([item(labels=False)])[0]["sem_seg"]


def grads(model, loss):
    model.zero_grad()
    loss.backward()
    return {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


# --- the gate ---


def test_a_gate_of_zero_is_clip_to_the_last_bit():
    clip, sam = torch.randn(2, 16, 3, 5), torch.randn(2, 6, 7, 7)
    assert torch.equal(DEA(16, 6, num_heads=2, gated=True)(clip, sam), clip)


def test_a_gate_adds_directions_whatever_their_lengths():
    clip, sam = torch.randn(2, 16, 3, 5), torch.randn(2, 6, 7, 7)
    plain = DEA(16, 6, num_heads=2, init="xavier")
    gated = DEA(16, 6, num_heads=2, gated=True)
    gated.load_state_dict({**plain.state_dict(), "gate": torch.tensor([0.4])})
    expected = F.normalize(clip, dim=1) + 0.4 * F.normalize(plain(clip, sam), dim=1)
    found = gated(clip, sam)
    torch.testing.assert_close(F.normalize(found, dim=1), F.normalize(expected, dim=1))
    torch.testing.assert_close(found.norm(dim=1), clip.norm(dim=1) * expected.norm(dim=1))


def test_the_gate_opens_first_and_the_formulas_learn_behind_it():
    model = build(GATE_ENABLED=True).train()
    optimizer = torch.optim.SGD(model.dea.parameters(), lr=0.1)
    reached = []
    for _ in range(4):
        found = grads(model, sum(model([item()]).values()))
        reached.append({n for n in found if n.startswith("dea.")})
        optimizer.step()
    assert reached[0] == {"dea.gate"}
    assert reached[-1] == {f"dea.{name}" for name, _ in model.dea.named_parameters()}


# --- alignment ---


@pytest.mark.parametrize(("antialias", "skipped"), [(False, True), (True, False)])
def test_every_cell_of_sam_counts_only_where_the_alignment_averages(antialias, skipped):
    sam = torch.randn(1, 1, 64, 64, requires_grad=True)
    align_map(sam, (24, 24), antialias=antialias).sum().backward()
    assert (sam.grad == 0).any() == skipped


@pytest.mark.parametrize("size", [(8, 8), (9, 20)])
def test_where_nothing_shrinks_averaging_changes_no_bit(size):
    sam = torch.randn(2, 3, 8, 8)
    found = [align_map(sam, size, antialias=antialias) for antialias in (False, True)]
    assert torch.equal(*found)


def test_the_key_reaches_dea_and_the_guidance():
    images = torch.rand(1, 3, 64, 64) * 255
    features = []
    for enabled in (False, True):
        model = build(ANTIALIAS_ENABLED=enabled, INIT="xavier", GUIDANCE_ENABLED=True).eval()
        assert model.sam_guidance.antialias == enabled
        for projection in model.sam_guidance.projections.values():
            torch.nn.init.ones_(projection.weight)
        features.append(model.extract(images)["dense"])
    assert not torch.allclose(*features)


# --- guidance ---


def test_sam_is_added_to_the_stage_maps_cell_by_cell():
    guidance = SamGuidance(3, {"res4": 5})
    torch.nn.init.normal_(guidance.projections["res4"].weight)
    maps, sam = {"res4": torch.randn(2, 5, 8, 8), "res2": None}, torch.randn(2, 3, 8, 8)
    weight = guidance.projections["res4"].weight[:, :, 0, 0]
    (found,) = guidance(maps, sam).values()
    expected = maps["res4"] + torch.einsum("os,bshw->bohw", weight, sam)
    torch.testing.assert_close(found, expected)


def test_guidance_starts_as_without_and_learns_where_the_tower_does_not():
    plain, guided = build(), build(GUIDANCE_ENABLED=True)
    guided.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(answer(plain), answer(guided))
    found = grads(guided, sum(guided.train()([item()]).values()))
    assert {n for n, _ in guided.named_parameters() if n.startswith("sam_guidance.")} <= found
    features = guided.extract(torch.rand(1, 3, 64, 64) * 255)
    reached = grads(guided, sum(features[name].sum() for name in ("res4", "res3")))
    assert all(name.startswith("sam_guidance.") for name in reached)


# --- the pull ---


def test_the_pull_is_one_minus_the_mean_cosine_and_reaches_dea():
    model = build(PULL_WEIGHT=0.5, INIT="xavier").train()
    losses = model([item()])
    assert list(losses)[-1] == "loss_dea_pull" and len(losses) == 5
    features = model.extract(item()["image"][None].float())
    cosine = F.cosine_similarity(features["dense"], features["clip"], dim=1)
    torch.testing.assert_close(losses["loss_dea_pull"], 0.5 * (1 - cosine.mean()))
    pulled = grads(model, losses["loss_dea_pull"])
    assert "dea.cross_q.weight" in pulled
    assert not any(n.startswith("head.") for n in pulled)


def test_nothing_is_pulled_in_evaluation_or_without_a_weight():
    images = torch.rand(1, 3, 64, 64) * 255
    assert "clip" not in build(PULL_WEIGHT=1.0).eval().extract(images)
    assert "clip" not in build().train().extract(images)
    assert len(build().train()([item()])) == 4
    with pytest.raises(ValueError, match=r"DEA.PULL_WEIGHT: expected 0 or more, got -1"):
        setup_cfg(opts=["MODEL.STSEG.DEA.PULL_WEIGHT", "-1.0"])


# --- the control ---


def test_zeroed_the_answer_does_not_hang_on_sam_whose_own_map_stays():
    images = torch.rand(1, 3, 64, 64) * 255
    found = {}
    for zeroed in (False, True):
        model = build(SAM_ZEROED=zeroed, GUIDANCE_ENABLED=True, INIT="xavier").eval()
        for projection in model.sam_guidance.projections.values():
            torch.nn.init.ones_(projection.weight)
        first = model.extract(images)
        with torch.no_grad():
            for parameter in model.sam_encoder.parameters():
                parameter.mul_(-2)
        second = model.extract(images)
        assert not torch.equal(first["sam"], second["sam"])
        found[zeroed] = [torch.equal(first[n], second[n]) for n in ("dense", "res4", "res3")]
    assert found == {False: [False] * 3, True: [True] * 3}


# --- together ---


def test_defaults_add_no_tensor():
    added = {n for n in build(**ALL).state_dict()} - {n for n in build().state_dict()}
    stages = [f"sam_guidance.projections.res{i}.{n}" for i in (3, 4) for n in ("weight", "bias")]
    assert added == {"dea.gate", *stages}


def test_all_of_them_train_together():
    losses = build(**ALL).train()([item()])
    assert len(losses) == 5 and all(loss.isfinite() for loss in losses.values())


def test_averaging_and_gate_are_exported():
    dea = DEA(16, 6, num_heads=2, gated=True, antialias=True)
    torch.nn.init.constant_(dea.gate, 0.3)
    inputs = torch.randn(1, 16, 4, 4), torch.randn(1, 6, 11, 11)
    torch.testing.assert_close(torch.export.export(dea, inputs).module()(*inputs), dea(*inputs))
