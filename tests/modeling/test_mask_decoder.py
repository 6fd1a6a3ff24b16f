"""The masked decoder with queries: parity with EBSeg, and what any decoder must do."""

import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.heads import MaskDecoder
from stseg.modeling.heads.mask_decoder import hidden_cells
from stseg.modeling.layers import AttentionBias, RegionEmbedding, pool_in_masks
from tests.helpers.ebseg_parity import assert_near, is_finite, levels_of, part_weights, tensor

EXTRAS = {"class_dim": 16, "clip_heads": 4}


def small_decoder(**settings):
    torch.manual_seed(0)
    return MaskDecoder(**{"dim": 32, "num_queries": 5, "num_layers": 4, "num_heads": 4,
                          "ffn_dim": 48, **settings})  # fmt: skip


def random_inputs(batch=2, dim=32):
    torch.manual_seed(1)
    maps = [torch.randn(batch, 32, *size) for size in ((2, 3), (4, 6), (8, 12))]
    return torch.randn(batch, dim, 16, 24), maps


@pytest.fixture
def published(ebseg_fixture):
    """Arrays, a decoder with their weights, and its inputs."""
    arrays = ebseg_fixture("fusion_and_mask_decoder")
    decoder = small_decoder(**EXTRAS)
    decoder.load_state_dict(part_weights(arrays, "mask_decoder"))
    return arrays, decoder, (tensor(arrays["mask_features"]), levels_of(arrays))


def test_every_round_matches(published):
    arrays, decoder, inputs = published
    rounds = decoder(*inputs)
    assert len(rounds) == 5
    for i, found in enumerate(rounds):
        assert_near(found.mask_logits, arrays[f"mask_logits_{i}"])
        assert_near(found.class_embeds, arrays[f"class_embeddings_{i}"])
        if i in (0, 4):
            assert_near(found.attention_bias, arrays[f"attn_bias_{i}"])


def test_the_last_round_alone_matches(published):
    arrays, decoder, inputs = published
    (found,) = decoder(*inputs, every_round=False)
    assert_near(found.mask_logits, arrays["mask_logits_4"])
    assert_near(found.class_embeds, arrays["class_embeddings_4"])
    assert_near(found.attention_bias, arrays["attn_bias_4"])


def test_pooled_bias_matches(published):
    arrays, decoder, inputs = published
    (found,) = decoder(*inputs, every_round=False, bias_size=(5, 6))
    expected = F.adaptive_max_pool2d(tensor(arrays["attn_bias_4"]).flatten(0, 1), (5, 6))
    assert_near(found.attention_bias, expected.unflatten(0, (2, 4)))


def unfolded(bias, embeds, features):
    """The bias as published: a map of heads x channels at full size."""
    maps = bias.mlp(features.flatten(2).transpose(1, 2)).unflatten(-1, (bias.num_heads, -1))
    raw = torch.einsum("bqc,bphc->bhqp", embeds, maps)
    return bias.scaling(raw[..., None])[..., 0].unflatten(-1, features.shape[-2:])


def test_bias_folded_onto_queries_is_the_published_one_with_its_gradients():
    torch.manual_seed(0)
    bias = AttentionBias(8, 3)
    torch.nn.init.constant_(bias.scaling.weight, -0.7)
    torch.nn.init.constant_(bias.scaling.bias, 0.3)
    grads = []
    for how in (unfolded, lambda b, q, f: b(q, b.hidden(f), f.shape[-2:])):
        torch.manual_seed(1)
        embeds = torch.randn(2, 5, 8, requires_grad=True)
        features = torch.randn(2, 8, 4, 6, requires_grad=True)
        inputs = [embeds, features, *bias.parameters()]
        out = how(bias, embeds, features)
        grads.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
    for plain, folded in zip(*grads, strict=True):
        assert_near(folded, plain.detach(), 5e-6)


def test_additions_can_be_left_out():
    decoder = small_decoder()
    assert not [n for n, _ in decoder.named_parameters() if "region" in n or "bias." in n]
    last = decoder(*random_inputs())[-1]
    assert last.class_embeds is None and last.attention_bias is None
    assert last.mask_logits.shape == (2, 5, 16, 24) and last.queries.shape == (2, 5, 32)


def test_widths_of_masks_and_classes_are_free():
    decoder = small_decoder(mask_dim=20, class_dim=12, clip_heads=3)
    last = decoder(*random_inputs(dim=20))[-1]
    assert last.class_embeds.shape == (2, 5, 12)
    assert last.attention_bias.shape == (2, 3, 5, 16, 24)


def test_gradients_reach_every_parameter():
    decoder = small_decoder(**EXTRAS)
    rounds = decoder(*random_inputs())
    loss = sum(x.mask_logits.square().mean() + x.attention_bias.square().mean() for x in rounds)
    (loss + sum((x.class_embeds - 1).square().mean() for x in rounds)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


def test_a_batch_is_its_images():
    decoder = small_decoder(**EXTRAS).eval()
    features, maps = random_inputs()
    both = decoder(features, maps)[-1]
    for i in range(2):
        one = decoder(features[i : i + 1], [x[i : i + 1] for x in maps])[-1]
        for ours, alone in zip(both, one, strict=True):
            torch.testing.assert_close(ours[i : i + 1], alone, atol=1e-4, rtol=1e-4)


def test_queries_may_change_places():
    decoder = small_decoder(**EXTRAS).eval()
    before = decoder(*random_inputs())[-1]
    order = torch.tensor([3, 1, 4, 0, 2])
    for embedding in (decoder.query_feats, decoder.query_positions):
        embedding.weight.data = embedding.weight.data[order]
    after = decoder(*random_inputs())[-1]
    torch.testing.assert_close(after.mask_logits, before.mask_logits[:, order], atol=1e-4, rtol=0)
    torch.testing.assert_close(after.class_embeds, before.class_embeds[:, order], atol=1e-4, rtol=0)


@pytest.mark.parametrize("every_round", [True, False])
def test_bf16_is_finite(every_round):
    decoder = small_decoder(**EXTRAS)
    with torch.autocast("cpu", torch.bfloat16):
        for found in decoder(*random_inputs(), every_round=every_round):
            assert is_finite(*found)


def test_a_query_without_a_cell_sees_all():
    logits = torch.tensor([[-1.0, 2, -1], [-1, -1, -1]]).view(1, 2, 1, 3)
    assert hidden_cells(logits).tolist() == [[[True, False, True], [False] * 3]]


def test_length_of_embeddings_is_bounded():
    module = RegionEmbedding(8, 6)
    features = torch.randn(1, 8, 3, 3)
    for scale, length in ((1.5, 1.5), (20.0, 10.0)):
        module.scale.data.fill_(scale)
        embeds = module(torch.randn(1, 4, 8), features, torch.randn(1, 4, 3, 3))
        torch.testing.assert_close(embeds.norm(dim=-1), torch.full((1, 4), length))


def test_pooling_averages_inside_and_gives_zeros_for_nothing():
    features = torch.tensor([1.0, 2, 6]).view(1, 1, 1, 3)
    inside = torch.tensor([[True, False, True], [False] * 3]).view(1, 2, 1, 3)
    assert pool_in_masks(features, inside).tolist() == [[[3.5], [0]]]
