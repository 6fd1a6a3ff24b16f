"""Fewer channels than templates: exact at full rank, as near as can be below, only on demand."""

import copy
import logging

import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.heads import template_basis
from stseg.modeling.heads.cost_volume import CostVolume
from stseg.modeling.heads.template_basis import LatestBasis, ReducedCostVolume, TemplateBasis
from stseg.modeling.meta_arch.stseg import STSeg
from stseg.structures import Vocabulary
from tests.helpers.parity import bare_decoder
from tests.helpers.tiny_model import tiny_cfg
from tests.modeling.test_chunked_decoding import (
    EVERYTHING,
    NOTHING,
    SOME,
    both,
    make_decoder,
    make_inputs,
)

TEMPLATES = 4  # of `bare_decoder`


def factorised(monkeypatch):
    """Counts factorisations."""
    made = []

    class Counted(TemplateBasis):
        def __init__(self, *args):
            made.append(1)
            super().__init__(*args)

    monkeypatch.setattr(template_basis, "TemplateBasis", Counted)
    return made


@pytest.mark.parametrize("kept_bytes", [EVERYTHING, SOME, NOTHING])
@pytest.mark.parametrize(("batch", "num_classes", "chunk"), [(1, 1, 8), (2, 7, 3), (2, 8, 4)])
@pytest.mark.parametrize("settings", [{}, {"text_guidance_dims": (5, 4, 3)}])
def test_all_channels_give_the_exact_scores(batch, num_classes, chunk, kept_bytes, settings):
    decoder = make_decoder(
        template_rank=TEMPLATES, chunk_size=chunk, kept_bytes=kept_bytes, **settings
    )
    plain, chunked = both(decoder, *make_inputs(batch, num_classes))
    torch.testing.assert_close(chunked, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kept_bytes", [EVERYTHING, NOTHING])
def test_all_channels_give_the_exact_scores_under_rejection(kept_bytes):
    decoder = make_decoder(
        template_rank=TEMPLATES, rejection_topk=1, chunk_size=3, kept_bytes=kept_bytes
    )
    with torch.no_grad():  # so that some lose everywhere
        decoder.aux_heads[0].weight.mul_(5)
    plain, chunked = both(decoder, *make_inputs(2, 11, size=(2, 3)))
    assert not plain.isfinite().all()
    torch.testing.assert_close(chunked, plain, rtol=0, atol=1e-5)


def test_templates_of_low_rank_lose_nothing():
    decoder = make_decoder(template_rank=2, chunk_size=3)
    cost, guidance, _ = make_inputs(1, 5)
    embeds = torch.randn(5, TEMPLATES, 2) @ torch.randn(5, 2, 32)
    plain, chunked = both(decoder, CostVolume(cost.image_feats, embeds), guidance, embeds)
    torch.testing.assert_close(chunked, plain, rtol=0, atol=1e-4)


def test_fewer_channels_than_needed_change_the_scores():
    decoder = make_decoder(template_rank=2, chunk_size=3)
    plain, chunked = both(decoder, *make_inputs(1, 5))
    assert (plain - chunked).abs().max() > 1e-3


@pytest.mark.parametrize("rank", [1, 3, 9, 10])
def test_no_other_factors_of_the_rank_come_nearer(rank):
    """The error is what the discarded directions hold, in the embeddings and in the cost volume."""
    torch.manual_seed(0)
    feats, embeds = torch.randn(2, 16, 5, 4), torch.randn(70, 10, 16)
    embeds = 3 * embeds + 5 * torch.randn(70, 1, 16)  # alike, and of no unit length
    basis, unit = TemplateBasis(embeds, rank), F.normalize(embeds, dim=-1)
    identity = torch.eye(rank).expand(70, -1, -1)
    torch.testing.assert_close(basis.basis.mT @ basis.basis, identity, rtol=0, atol=1e-5)
    lost = torch.linalg.svdvals(unit.double())[:, rank:].square().sum(1)
    error = (unit - basis.basis @ basis.factors).double().square().sum((1, 2))
    torch.testing.assert_close(error, lost, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(basis.lost.double(), lost / 10, rtol=1e-4, atol=1e-6)

    exact = CostVolume(feats, embeds)
    reduced, classes = ReducedCostVolume(basis, exact), torch.tensor([69, 3, 4])
    assert reduced.shape == (2, rank, 70, 5, 4)
    for image in range(2):
        scores = reduced.of_classes(image, classes)
        spread = torch.einsum("npr,nrhw->nphw", basis.basis[classes], scores)
        error = (exact.of_classes(image, classes) - spread).square().sum((1, 2, 3))
        bound = lost[classes] * exact.image_feats[image].square().sum()
        assert (error <= bound + 1e-5).all()


def test_an_embedding_without_direction_scores_0():
    embeds = torch.randn(3, 4, 8)
    embeds[1] = 0
    cost = CostVolume(torch.randn(1, 8, 2, 2), embeds)
    scores = ReducedCostVolume(TemplateBasis(embeds, 2), cost).of_classes(0, torch.arange(3))
    assert scores.isfinite().all()
    assert not scores[1].any()


def test_it_is_off_by_default(monkeypatch):
    made = factorised(monkeypatch)
    assert STSeg(tiny_cfg()).head.latest_basis is None
    both(make_decoder(), *make_inputs(1, 3))
    assert not made


def test_training_and_gradients_stay_exact(monkeypatch):
    made = factorised(monkeypatch)
    reduced, exact = (make_decoder(template_rank=rank) for rank in (1, 0))
    inputs = make_inputs(1, 3)
    for training in (False, True):
        for ours, theirs in zip(
            reduced.train(training)(*inputs), exact.train(training)(*inputs), strict=True
        ):
            torch.testing.assert_close(ours, theirs)
    assert not made


def test_a_vocabulary_is_factorised_once_and_again_when_it_changes(monkeypatch):
    made = factorised(monkeypatch)
    latest = LatestBasis(2)
    first, second = torch.randn(3, 4, 8), torch.randn(3, 4, 8)
    assert latest.of(first) is latest.of(first)
    assert len(made) == 1
    latest.of(second)
    assert len(made) == 2
    second.mul_(-2)
    torch.testing.assert_close(latest.of(second).factors, TemplateBasis(second, 2).factors)
    with torch.inference_mode():
        made_there = torch.randn(3, 4, 8)
        assert latest.of(made_there) is latest.of(made_there)
    assert not latest.of(first).basis.requires_grad


def test_what_is_lost_is_told_once_per_vocabulary(caplog):
    latest = LatestBasis(1)
    embeds = torch.eye(4).expand(2, -1, -1).contiguous()
    with caplog.at_level(logging.INFO, template_basis.__name__):
        latest.of(embeds)
        latest.of(embeds)
    assert [record.message for record in caplog.records] == [
        "TEMPLATE_RANK 1: of the templates' squares 0.75 are lost on average, 0.75 at most, over "
        "2 names."
    ]


def test_images_share_the_factors_and_copies_of_the_model_work(monkeypatch):
    made = factorised(monkeypatch)
    model = STSeg(tiny_cfg(MODEL__SEM_SEG_HEAD__TEMPLATE_RANK=3)).eval()
    item = {"image": torch.zeros(3, 64, 64), "vocabulary": Vocabulary.parse("sky; tree")}
    with torch.inference_mode():
        model([item, item])
        model.label_maps([item])
    assert len(made) == 1
    copied = copy.deepcopy(model)
    with torch.inference_mode():
        torch.testing.assert_close(copied([item]), model([item]))


def test_a_model_with_synonyms_and_all_channels_is_exact():
    cat = Vocabulary.parse("sky; tree; cat, kitten, tabby; road")
    items = [{"image": torch.rand(3, 40, 64) * 255, "vocabulary": cat}]
    answers = []
    for rank in (0, 80):
        torch.manual_seed(0)
        model = STSeg(tiny_cfg(MODEL__SEM_SEG_HEAD__TEMPLATE_RANK=rank)).eval()
        with torch.no_grad():
            answers.append(model(items)[0]["sem_seg"])
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rank", [-1, TEMPLATES + 1])
def test_an_impossible_rank_is_refused(rank):
    with pytest.raises(ValueError, match=f"TEMPLATE_RANK: expected 1 to 4 .*got {rank}"):
        bare_decoder(template_rank=rank)


def test_softmax_attention_is_not_approximated():
    with pytest.raises(ValueError, match="TEMPLATE_RANK: expected 0 with softmax"):
        bare_decoder(template_rank=2, attention="softmax")


def test_factors_are_exact_under_autocast():
    embeds = torch.randn(3, 4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        lower = TemplateBasis(embeds, 2)
    torch.testing.assert_close(lower.factors, TemplateBasis(embeds, 2).factors)
