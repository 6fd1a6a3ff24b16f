"""AdaB: parity with EBSeg up to score maps, and what its weights promise."""

import pytest
import torch

from stseg.modeling.heads import EmbeddingBalance, frozen_embeddings
from stseg.modeling.scores import Cells, Cropped, QueryScores, QuerySum, Resized
from stseg.modeling.scores.best_classes import read_best
from tests.helpers.ebseg_parity import assert_near, tensor

WEIGHTS = {"b": EmbeddingBalance(0.09, 0.3, 0.7), "l": EmbeddingBalance(0.12, 0.4, 0.6)}


def logits_of(arrays, embeds):
    return tensor(arrays["logit_scale_log"]).exp() * embeds @ tensor(arrays["class_embeddings"]).T


def published_shares(arrays, size):
    """Our logarithms of the combined distribution."""
    pooled = frozen_embeddings(tensor(arrays["dense_features"]), tensor(arrays["mask_logits"]))
    decoder, frozen, masked = (
        logits_of(arrays, embeds)
        for embeds in (
            tensor(arrays["decoder_embeddings"]),
            pooled,
            tensor(arrays["masked_attn_embeddings"]),
        )
    )
    seen = tensor(arrays["seen"]).bool()
    return WEIGHTS[size](decoder, frozen[..., :-1], masked[..., :-1], seen)


def whole(source):
    height, width = source.size
    return source.take(torch.arange(source.classes), (0, height), (0, width))


@pytest.mark.parametrize("size", ["b", "l"])
def test_pooling_and_balance_match(ebseg_fixture, size):
    arrays = ebseg_fixture(f"balance_{size}")
    found = WEIGHTS[size]
    for name in ("alpha", "beta", "gamma"):
        assert getattr(found, name) == pytest.approx(arrays[name].item())
    cells = Resized(Cells(tensor(arrays["mask_logits"])[0]), (4, 6))
    assert_near(whole(cells), arrays["mask_at_feature_size"][0])
    pooled = frozen_embeddings(tensor(arrays["dense_features"]), tensor(arrays["mask_logits"]))
    assert_near(pooled, arrays["pooled_embeddings"])
    assert (pooled[0, 2] == 0).all()
    assert_near(published_shares(arrays, size), arrays["log_prob"])


@pytest.mark.parametrize("size", ["b", "l"])
@pytest.mark.parametrize("image", [0, 1])
def test_score_maps_match(ebseg_fixture, size, image):
    arrays = ebseg_fixture(f"balance_{size}")
    shares = published_shares(arrays, size)[image].softmax(-1)[:, :-1]
    logits = tensor(arrays["mask_logits"])[image]
    padded, own, wanted = (
        tuple(map(int, side))
        for side in (
            arrays["padded_size"],
            arrays["input_sizes"][image],
            arrays["output_sizes"][image],
        )
    )
    source = QueryScores(logits, shares, padded, own).at(wanted)
    assert_near(whole(source), arrays[f"score_{image}"])
    parts = [source.take(torch.arange(7), (y, y + 1), (3, 60)) for y in (0, 20, 59)]
    assert_near(torch.cat(parts, 1), arrays[f"score_{image}"][:, [0, 20, 59], 3:60])
    early = whole(QuerySum(Cropped(Resized(Cells(logits), padded), own), shares))
    late = torch.nn.functional.interpolate(early[None], wanted, mode="bilinear")[0]
    assert_near(late, arrays[f"late_resize_score_{image}"])


def random_opinions(classes=6, scale=3.0):
    torch.manual_seed(0)
    decoder, frozen, masked = (scale * torch.randn(2, 4, classes + 1) for _ in range(3))
    return decoder, frozen[..., :-1], masked[..., :-1]


def test_a_weight_of_nothing_leaves_the_decoder_out_but_for_no_object():
    decoder, frozen, masked = random_opinions()
    seen = torch.tensor([True, False] * 3)
    balance = WEIGHTS["b"]
    assert (balance.exponents(seen)[0] == torch.tensor([0.21, 0.0] * 3)).all()
    turned = decoder.clone()
    turned[..., :-1] = turned[..., :-1].flip(-1)  # the same sum of classes
    unseen = torch.zeros(6, dtype=torch.bool)
    before, after = (balance(x, frozen, masked, unseen) for x in (decoder, turned))
    torch.testing.assert_close(before, after)
    assert not torch.allclose(before, balance(turned, frozen, masked, ~unseen))


def test_logits_far_apart_stay_finite():
    opinions = random_opinions(scale=1e4)
    found = WEIGHTS["l"](*opinions, torch.ones(6, dtype=torch.bool))
    assert found.isfinite().all()
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, 4), atol=1e-6, rtol=0)


def test_classes_may_change_places():
    decoder, frozen, masked = random_opinions()
    seen, order = torch.arange(6) < 2, torch.tensor([4, 0, 5, 2, 1, 3])
    turned = torch.cat([decoder[..., order], decoder[..., -1:]], -1)
    before = WEIGHTS["b"](decoder, frozen, masked, seen)
    after = WEIGHTS["b"](turned, frozen[..., order], masked[..., order], seen[order])
    torch.testing.assert_close(after[..., :-1], before[..., order])


def test_bf16_gives_float32():
    opinions = [x.bfloat16() for x in random_opinions()]
    found = WEIGHTS["b"](*opinions, torch.ones(6, dtype=torch.bool))
    assert found.dtype == torch.float32 and found.isfinite().all()


def test_weights_above_one_together_are_named():
    with pytest.raises(ValueError, match=r"beta, gamma: .* got 0.5 and 0.7"):
        EmbeddingBalance(0.1, 0.5, 0.7)


def test_best_classes_and_confidences_of_queries_are_those_of_the_whole_map():
    torch.manual_seed(0)
    masks, shares = 3 * torch.randn(5, 9, 11), torch.rand(5, 8).softmax(-1)
    source = QueryScores(masks, shares, (36, 44), (30, 41)).at((50, 61))
    scores = whole(source)
    ids, best = read_best(source, 2)
    expected = scores.topk(2, dim=0)
    torch.testing.assert_close(best, expected.values * source.scale((0, 50), (0, 61)))
    assert (ids == expected.indices).float().mean() > 0.999
    assert best.max() <= 1 + 1e-6
    part = source.below(20).take(torch.arange(8), (20, 50), (0, 61))
    torch.testing.assert_close(part, scores[:, 20:])
