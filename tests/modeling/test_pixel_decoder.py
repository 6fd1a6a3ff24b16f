"""The pixel decoder and its attention: parity with EBSeg, and what any decoder must do."""

import pytest
import torch

from stseg.modeling.heads import PixelDecoder
from stseg.modeling.layers import DeformableLayer, MapFusion, cell_centres, sine_embedding
from stseg.modeling.layers.deformable_attention import DeformableAttention
from tests.helpers.ebseg_parity import (
    assert_near,
    fused_maps,
    is_finite,
    levels_of,
    maps_of,
    part_weights,
    tensor,
)


def small_decoder(**settings):
    return PixelDecoder([24] * 4, **{"dim": 32, "mask_dim": 32, "num_layers": 2, "num_heads": 4,
                                     "ffn_dim": 48, **settings})  # fmt: skip


def random_maps(batch=2, dim=24):
    sizes = {"res2": (16, 24), "res3": (8, 12), "res4": (4, 6), "res5": (2, 3)}
    return {name: torch.randn(batch, dim, *size) for name, size in sizes.items()}


def test_sine_embedding_matches(ebseg_fixture):
    reference = ebseg_fixture("fusion_and_mask_decoder")["sine_position_8x12"]
    assert_near(sine_embedding((8, 12), 32), reference)


def test_a_side_of_the_embedding_must_split_in_pairs():
    with pytest.raises(ValueError, match="multiple of 4, .* got 30"):
        sine_embedding((2, 2), 30)


def test_fusion_matches(ebseg_fixture):
    arrays = ebseg_fixture("fusion_and_mask_decoder")
    fusion = MapFusion([24, 24, 24], 24)
    fusion.load_state_dict(part_weights(arrays, "map_fusion"))
    fused = fusion(maps_of(arrays), [tensor(arrays[f"clip_{i}"]) for i in (2, 3, 4)])
    for name in ("res3", "res4", "res5"):
        assert_near(fused[name], arrays[f"fused_{name}"])
    assert (fused["res2"] == tensor(arrays["in_res2"])).all()


def test_pixel_decoder_matches(ebseg_fixture):
    arrays = ebseg_fixture("fusion_and_mask_decoder")
    decoder = small_decoder()
    decoder.load_state_dict(part_weights(arrays, "pixel_decoder"))
    mask_features, levels = decoder(fused_maps(arrays))
    assert_near(mask_features, arrays["mask_features"])
    for ours, reference in zip(levels, levels_of(arrays), strict=True):
        assert_near(ours, reference)


def loops(attention, query, reference, cells, sizes):
    """Deformable attention of one image, point by point, in float64."""
    attention = attention.double()
    heads, levels, points = attention.num_heads, attention.num_levels, attention.num_points
    values = attention.value_proj(cells).unflatten(-1, (heads, -1))
    offsets = attention.sampling_offsets(query).view(-1, heads, levels, points, 2)
    weights = attention.attention_weights(query).view(-1, heads, levels * points).softmax(-1)
    starts = [0, *torch.tensor([h * w for h, w in sizes]).cumsum(0).tolist()]
    out = torch.zeros(len(query), heads, values.shape[-1], dtype=torch.double)
    for n in range(len(query)):
        for head in range(heads):
            for k in range(levels * points):
                level, point = divmod(k, points)
                h, w = sizes[level]
                x, y = reference[n] * torch.tensor([w, h]) + offsets[n, head, level, point] - 0.5
                for row in (y.floor().long(), y.floor().long() + 1):
                    for col in (x.floor().long(), x.floor().long() + 1):
                        if 0 <= row < h and 0 <= col < w:
                            share = (1 - (y - row).abs()) * (1 - (x - col).abs())
                            value = values[starts[level] + row * w + col, head]
                            out[n, head] += weights[n, head, k] * share * value
    return attention.output_proj(out.flatten(1))


def test_attention_is_what_its_formula_says():
    torch.manual_seed(0)
    attention = DeformableAttention(8, num_heads=2, num_levels=2, num_points=3)
    torch.nn.init.normal_(attention.sampling_offsets.weight)
    torch.nn.init.normal_(attention.attention_weights.weight)
    sizes = [(2, 3), (4, 5)]
    cells, query, reference = torch.randn(1, 26, 8), torch.randn(1, 7, 8), torch.rand(7, 2)
    with torch.no_grad():
        ours = attention(query, reference, cells, sizes)[0]
        expected = loops(attention, query[0].double(), reference.double(), cells[0].double(), sizes)
    torch.testing.assert_close(ours, expected.float(), atol=1e-5, rtol=1e-5)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"divisor of dim \(10\), got 4"):
        DeformableAttention(10, num_heads=4)


def test_centres_of_cells_lie_between_the_borders():
    centres = cell_centres([(1, 2), (2, 1)])
    assert centres.tolist() == [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]


def test_sizes_and_gradients_of_the_pixel_decoder():
    torch.manual_seed(0)
    decoder = small_decoder(mask_dim=20)
    mask_features, levels = decoder(random_maps())
    assert mask_features.shape == (2, 20, 16, 24)
    assert [x.shape for x in levels] == [(2, 32, 2, 3), (2, 32, 4, 6), (2, 32, 8, 12)]
    (mask_features.square().sum() + sum(x.square().sum() for x in levels)).backward()
    assert all(p.grad is not None for p in decoder.parameters())
    assert is_finite(*(p.grad for p in decoder.parameters()))


def test_pixel_decoder_stays_in_float32_under_autocast():
    torch.manual_seed(0)
    decoder, maps = small_decoder(), random_maps()
    plain, _ = decoder(maps)
    with torch.autocast("cpu", torch.bfloat16):
        under, levels = decoder(maps)
    assert under.dtype == levels[0].dtype == torch.float32
    torch.testing.assert_close(under, plain)


def test_a_batch_is_its_images():
    torch.manual_seed(0)
    decoder, maps = small_decoder(), random_maps()
    both, _ = decoder(maps)
    each = [decoder({k: v[i : i + 1] for k, v in maps.items()})[0] for i in range(2)]
    torch.testing.assert_close(both, torch.cat(each), atol=1e-5, rtol=1e-5)


def test_a_layer_alone_attends_in_float32_under_autocast():
    layer = DeformableLayer(8, num_heads=2, num_levels=1, ffn_dim=16)
    x, centres = torch.randn(1, 6, 8), cell_centres([(2, 3)])
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.attention(x, centres, x, [(2, 3)]).dtype == torch.float32
        assert is_finite(layer(x.bfloat16(), torch.zeros(6, 8), centres, [(2, 3)]))
