"""SAM as a backbone of four maps: against EBSeg's arrays, and by itself."""

from functools import partial

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from stseg.modeling.encoders.sam import SAMImageEncoder, create_sam
from stseg.modeling.encoders.sam_pyramid import SCALES, SAMPyramid, build_sam_pyramid
from tests.helpers.ebseg_arrays import assert_within, ebseg_arrays, tensor, under
from tests.helpers.tiny_model import tiny_cfg, tiny_sam


def four_globals():
    """128 pixels, patch 16, width 24, 6 blocks, 2 heads, windows of 3."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=128,
        embed_dim=24,
        depth=6,
        num_heads=2,
        out_chans=8,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=(1, 2, 4, 5),
    )
    for name, parameter in encoder.named_parameters():
        if "pos" in name:
            nn.init.normal_(parameter, std=0.5)
    return encoder


def test_the_four_maps_are_the_published_ones(shared_dir):
    arrays = ebseg_arrays(shared_dir, "spatial_encoder")
    pyramid = SAMPyramid(four_globals())
    pyramid.encoder.load_state_dict(under(arrays, "w/"))
    with torch.no_grad():
        maps = pyramid(tensor(arrays["image"]))
    assert list(maps) == list(SCALES)
    for name, found in maps.items():
        assert_within(found, arrays[name])


def test_at_sams_own_size_the_maps_are_what_its_blocks_leave():
    encoder = four_globals()
    images = torch.rand(2, 3, 128, 128) * 255
    names = [f"global_{i}" for i in range(4)]
    wanted = SAMImageEncoder(encoder, input_size=128, outputs=names)(images)
    pyramid = SAMPyramid(encoder, trained=())
    maps = pyramid((images - pyramid.pixel_mean) / pyramid.pixel_std)
    torch.testing.assert_close(maps["res4"], wanted["global_2"])
    torch.testing.assert_close(maps["res5"], nn.functional.avg_pool2d(wanted["global_3"], 2))


@pytest.mark.parametrize("size", [(32, 32), (64, 224), (160, 32)])
@torch.no_grad()
def test_any_size_and_batch(size):
    pyramid = SAMPyramid(four_globals())
    images = torch.randn(2, 3, *size)
    maps = pyramid(images)
    for name, shape in pyramid.output_shape().items():
        wanted = (2, shape.channels, size[0] // shape.stride, size[1] // shape.stride)
        assert maps[name].shape == wanted
    alone = pyramid(images[1:])
    for name, value in alone.items():
        torch.testing.assert_close(value[0], maps[name][1], atol=1e-5, rtol=1e-5)


def test_absolute_positions_learn_and_nothing_else():
    pyramid = SAMPyramid(four_globals()).train()
    assert not pyramid.encoder.training
    images = torch.randn(1, 3, 64, 96, requires_grad=True)
    sum(x.std() for x in pyramid(images).values()).backward()
    learning = {name for name, p in pyramid.named_parameters() if p.grad is not None}
    assert learning == {"encoder.pos_embed"}
    assert pyramid.encoder.pos_embed.grad.abs().sum() > 0
    frozen = SAMPyramid(four_globals(), trained=())
    assert not any(x.requires_grad for x in frozen(images.detach()).values())


@torch.no_grad()
def test_bf16_is_finite():
    with torch.autocast("cpu", torch.bfloat16):
        maps = SAMPyramid(four_globals())(torch.randn(1, 3, 64, 96))
    assert all(torch.isfinite(x).all() for x in maps.values())


@pytest.mark.parametrize(("name", "sources"), [("mini", [0, 0, 1, 1]), ("vit_b", [0, 1, 2, 3])])
def test_where_there_are_fewer_global_blocks_one_serves_several_maps(name, sources):
    with torch.device("meta"):
        pyramid = SAMPyramid(create_sam(name).image_encoder)
    assert list(pyramid.sources.values()) == sources
    assert not any("neck" in key for key in pyramid.state_dict())


def test_it_is_built_by_the_keys_of_sam():
    assert build_sam_pyramid(tiny_cfg()).output_shape()["res2"].stride == 4


def test_without_a_global_block_it_is_refused():
    encoder = tiny_sam().image_encoder
    for block in encoder.blocks:
        block.window_size = 4
    with pytest.raises(ValueError, match="expected blocks with global attention"):
        SAMPyramid(encoder)
