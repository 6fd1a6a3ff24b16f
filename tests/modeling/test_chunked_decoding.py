"""The decoder in class chunks gives what the plain one gives."""

import pytest
import torch
from torch import nn

from stseg.modeling.heads import chunked_decoding, cost_decoder
from stseg.modeling.heads.chunked_decoding import conv_to_one
from stseg.modeling.heads.cost_volume import CostVolume, cost_volume
from stseg.modeling.layers import blocks
from stseg.modeling.layers.class_attention import ClassAttention
from stseg.modeling.layers.class_context import ClassContext
from stseg.modeling.layers.convnext_block import ConvNeXtBlock
from stseg.modeling.layers.folded_fusion import FoldedFusion, fold
from stseg.modeling.layers.up_block import UpBlock
from tests.helpers.parity import bare_decoder

EVERYTHING, NOTHING, SOME = 1 << 40, 0, 200_000


def make_decoder(**settings):
    torch.manual_seed(0)
    decoder = bare_decoder(**settings)
    for weight in decoder.parameters():
        if weight.dim() == 1:  # no bias is 0, no scale 1: each must be used
            nn.init.normal_(weight, 0.5, 0.3)
    return decoder.eval()


def make_inputs(batch, num_classes, size=(6, 5)):
    torch.manual_seed(1)
    height, width = size
    guidance = [
        torch.randn(batch, channels, height * by, width * by)
        for channels, by in zip((12, 10, 6), (2, 4, 8), strict=True)
    ]
    embeds = torch.randn(num_classes, 4, 32)
    return CostVolume(torch.randn(batch, 32, height, width), embeds), guidance, embeds


@torch.no_grad()
def both(decoder, cost, guidance, embeds):
    """Final scores of the plain decoder and of the one in chunks."""
    plain = decoder(cost.whole(), guidance, embeds)[0]
    outputs = decoder(cost, guidance, embeds, in_chunks=True)
    assert len(outputs) == 1
    return plain, outputs[0]


@pytest.mark.parametrize("kept_bytes", [EVERYTHING, SOME, NOTHING])
@pytest.mark.parametrize(("batch", "num_classes", "chunk"), [(1, 1, 8), (2, 7, 3), (3, 8, 4)])
@pytest.mark.parametrize(
    "settings", [{}, {"pooling_test": 2}, {"text_guidance_dims": (5, 4, 3)}, {"kernel_size": 7}]
)
def test_chunks_give_the_plain_scores(batch, num_classes, chunk, kept_bytes, settings):
    decoder = make_decoder(chunk_size=chunk, kept_bytes=kept_bytes, **settings)
    plain, chunked = both(decoder, *make_inputs(batch, num_classes))
    torch.testing.assert_close(chunked, plain, rtol=0, atol=1e-5)


def test_in_double_precision_only_rounding_is_left():
    decoder = make_decoder(chunk_size=3).double()
    cost, guidance, embeds = make_inputs(2, 7)
    cost = CostVolume(cost.image_feats.double(), embeds.double())
    plain, chunked = both(decoder, cost, [g.double() for g in guidance], embeds.double())
    torch.testing.assert_close(chunked, plain, rtol=0, atol=1e-7)  # sums are kept in float32


@pytest.mark.parametrize("kept_bytes", [EVERYTHING, SOME, NOTHING])
@pytest.mark.parametrize("topk", [1, 2, 100])
def test_early_rejection_in_chunks_keeps_the_same_classes(topk, kept_bytes):
    decoder = make_decoder(rejection_topk=topk, chunk_size=3, kept_bytes=kept_bytes)
    with torch.no_grad():  # so that some lose everywhere
        decoder.aux_heads[0].weight.mul_(5)
    plain, chunked = both(decoder, *make_inputs(2, 11, size=(2, 3)))
    finite = plain.isfinite()
    assert finite.all() == (topk == 100)
    assert torch.equal(finite, chunked.isfinite())
    torch.testing.assert_close(chunked[finite], plain[finite], rtol=0, atol=1e-5)


def test_chunks_that_stand_at_different_steps_are_not_joined():
    decoder = make_decoder(rejection_topk=1, chunk_size=3, kept_bytes=16_000)
    plain, chunked = both(decoder, *make_inputs(1, 40, size=(2, 3)))
    finite = plain.isfinite()
    assert torch.equal(finite, chunked.isfinite()) and not finite.all()
    torch.testing.assert_close(chunked[finite], plain[finite], rtol=0, atol=1e-5)


def test_early_rejection_with_text_guidance_looks_at_the_survivors_texts():
    decoder = make_decoder(rejection_topk=1, chunk_size=2, text_guidance_dims=(5, 4, 3))
    plain, chunked = both(decoder, *make_inputs(1, 9, size=(2, 2)))
    assert not plain.isfinite().all()
    torch.testing.assert_close(chunked, plain, rtol=0, atol=1e-5)


def test_a_budget_is_kept_and_what_is_beyond_it_is_computed_again(monkeypatch):
    most = []

    class Watched(chunked_decoding.ChunkedDecoding):
        def _keep(self, chunk, step, x):
            super()._keep(chunk, step, x)
            most.append(sum(c.num_bytes for c in self.chunks))

    monkeypatch.setattr(cost_decoder, "ChunkedDecoding", Watched)
    decoder = make_decoder(chunk_size=2, kept_bytes=SOME)
    embedded = []
    decoder.embed.register_forward_hook(lambda *_: embedded.append(1))
    plain, chunked = both(decoder, *make_inputs(1, 20))
    assert 0 < max(most) <= SOME
    assert len(embedded) == 1 + 10  # the plain one, and each chunk once: step 1 of all fits
    torch.testing.assert_close(chunked, plain, rtol=0, atol=1e-5)
    decoder.kept_bytes = NOTHING
    embedded.clear()
    decoder(*make_inputs(1, 20), in_chunks=True)
    assert len(embedded) == 4 * 10


def test_a_new_step_may_take_the_room_of_the_one_before():
    decoder = make_decoder(rejection_topk=100, chunk_size=2)
    cost, guidance, embeds = make_inputs(1, 4)
    channels, cells = decoder.embed.out_channels, 6 * 5
    decoder.kept_bytes = 4 * 4 * channels * cells  # float32, four classes: steps 0 and 1 of all
    blocks_run, spatial = [], decoder.stages[0].spatial
    run = spatial.forward_in_blocks
    spatial.forward_in_blocks = lambda x: blocks_run.append(len(x)) or run(x)
    plain, chunked = both(decoder, cost, guidance, embeds)
    assert blocks_run == [2, 2]  # each chunk once: step 1 takes the place of step 0
    torch.testing.assert_close(chunked, plain, rtol=0, atol=1e-5)


def test_small_blocks_change_nothing(monkeypatch):
    decoder = make_decoder(chunk_size=5)
    inputs = make_inputs(1, 7)
    expected = decoder(*inputs, in_chunks=True)[0]
    monkeypatch.setattr(blocks, "CPU_BYTES", 3000)
    torch.testing.assert_close(decoder(*inputs, in_chunks=True)[0], expected, rtol=0, atol=1e-5)


def test_the_way_is_chosen_by_name_and_softmax_attention_has_the_plain_one_only():
    cost, guidance, embeds = make_inputs(1, 5)
    softmax = make_decoder(attention="softmax", chunk_size=2)
    with torch.no_grad():
        expected = softmax(cost.whole(), guidance, embeds)[0]
    (found,) = softmax(cost, guidance, embeds, in_chunks=True)[:1]
    torch.testing.assert_close(found, expected)
    decoder = make_decoder(chunk_size=2)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            outputs = decoder(cost, guidance, embeds)
            (final,) = decoder(cost, guidance, embeds, in_chunks=True)
        assert len(outputs) == 4
        assert (outputs[0].requires_grad, final.requires_grad) == (grad, False)


@pytest.mark.parametrize("template_rank", [0, 4])
def test_half_precision_stays_close(template_rank):
    decoder = make_decoder(chunk_size=3, template_rank=template_rank)
    inputs = make_inputs(1, 7)
    expected = decoder(*inputs, in_chunks=True)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = decoder(*inputs, in_chunks=True)[0].float()
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_cost_volume_of_factors_is_that_of_the_whole():
    torch.manual_seed(0)
    feats, embeds = torch.randn(2, 6, 3, 4), 3 * torch.randn(5, 2, 6)
    embeds[4, 1] = 0  # no direction: 0, not infinity
    whole, factors = cost_volume(feats, embeds), CostVolume(feats, embeds)
    assert factors.shape == whole.shape == (2, 2, 5, 3, 4)
    some = torch.tensor([4, 0, 3])
    for i in range(2):
        expected = whole[i].transpose(0, 1)[some]
        torch.testing.assert_close(factors.of_classes(i, some), expected)


@pytest.mark.parametrize(("pooling", "shift"), [(1, 0.0), (2, 0.0), (1, -8.0)])
def test_class_attention_over_chunks_is_that_over_all(pooling, shift):
    torch.manual_seed(0)
    layer = ClassAttention(16, guidance_dim=3).double().eval()  # elu + 1 is rough in float32
    for linear in (layer.attention.q, layer.attention.k):  # -8: a normaliser as small as its eps
        nn.init.constant_(linear.bias, shift)
    x, guidance = torch.randn(7, 6, 5, 16).double(), torch.randn(7, 3).double()
    with torch.no_grad():
        expected = layer(x.permute(3, 0, 1, 2)[None], pooling=pooling, guidance=guidance[None])
        context = ClassContext(layer, num_classes=7, pooling=pooling)
        for part in (slice(0, 3), slice(3, 4), slice(4, 7)):
            context.add(x[part], guidance[part])
        answers = torch.cat(
            [context.answer(x[:2], guidance[:2]), context.answer(x[2:], guidance[2:])]
        )
    torch.testing.assert_close(answers, expected[0].permute(1, 2, 3, 0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3)])
def test_folded_fusion_is_that_of_the_block_up_to_the_border(size):
    torch.manual_seed(0)
    block = UpBlock(24, 16, image_guidance_dim=8, score_guidance_dim=4).eval()
    height, width = size
    image = torch.randn(1, 8, 2 * height, 2 * width)
    x, score = torch.randn(3, 24, height, width), torch.randn(3, 4, 2 * height, 2 * width)
    with torch.no_grad():
        up = torch.cat([block.upsample(x), image.repeat(3, 1, 1, 1), score], dim=1)
        expected = block.fuse(up)
        found = FoldedFusion(block, image)(x.permute(0, 2, 3, 1).contiguous(), score)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected, rtol=0, atol=1e-5)


def test_folded_kernel_is_both_convolutions():
    up = nn.ConvTranspose2d(3, 4, 2, stride=2, bias=False).double()
    conv = nn.Conv2d(4, 5, 3, padding=1, bias=False).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.double)
    with torch.no_grad():
        kernel = fold(up.weight, conv.weight)
        found = nn.functional.conv_transpose2d(x, kernel, stride=2, padding=1)
        torch.testing.assert_close(found, conv(up(x)))


def test_a_block_of_the_convnext_kind_and_a_head_by_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "CPU_BYTES", 2000)
    torch.manual_seed(0)
    block, conv = ConvNeXtBlock(12).eval(), nn.Conv2d(12, 1, 3, padding=1)
    nn.init.normal_(block.scale)
    x = torch.randn(3, 5, 7, 12)
    with torch.no_grad():
        expected = block(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        torch.testing.assert_close(block.forward_in_blocks(x), expected)
        expected = conv(x.permute(0, 3, 1, 2))[:, 0]
        torch.testing.assert_close(conv_to_one(x, conv), expected)
