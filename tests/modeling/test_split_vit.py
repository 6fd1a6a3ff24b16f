"""The split ViT by itself: exact shortcuts, gradients, any batch and any size."""

import pytest
import torch
from torch import nn

from stseg.modeling.encoders.query_attention import pool_bias
from stseg.modeling.encoders.towers import wrap_image_tower
from tests.helpers.published_attention import ask_as_published
from tests.helpers.small_vit import HEADS, OUT, WIDTH, small_vit, split


@pytest.fixture(scope="module")
def encoder():
    return split()


def images_and_bias(batch=2, queries=3, height=40, width=48, heads=HEADS):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch, 3, height, width, generator=generator)
    bias = torch.randn(batch, heads, queries, 11, 9, generator=generator)
    return images, 3 * bias


@pytest.mark.parametrize("shift", [0.0, -100.0, -300.0, 50.0])
@torch.no_grad()
def test_a_query_sees_what_it_would_see_among_all_tokens(encoder, shift):
    """Also where the bias on patches is as strong as what bars the rest."""
    images, bias = images_and_bias()
    found = encoder.ask(encoder(images, dense=False), bias + shift)
    wanted = ask_as_published(encoder, images, bias + shift)
    torch.testing.assert_close(found, wanted, atol=3e-6, rtol=0)


@pytest.mark.parametrize("activation", [nn.GELU, None])
@torch.no_grad()
def test_blocks_are_open_clips_with_the_activation_of_the_tower(activation):
    visual = small_vit(activation) if activation else small_vit()
    images, _ = images_and_bias(height=32, width=32)
    features = split(visual)(images, dense=False)
    wanted = visual.forward_intermediates(images, indices=[0, 1, 2, 3])["image_intermediates"]
    for number, expected in enumerate(wanted, start=1):
        torch.testing.assert_close(features[f"block_{number}"], expected)


@torch.no_grad()
def test_many_queries_at_once_equal_few_at_a_time(encoder):
    images, bias = images_and_bias(queries=6)
    features = encoder(images, dense=False)
    whole = encoder.ask(features, bias)
    parts = [encoder.ask(features, part) for part in bias.split(2, dim=2)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)


@torch.no_grad()
def test_two_pictures_together_equal_each_alone(encoder):
    images, bias = images_and_bias()
    both = encoder(images, dense=True)
    both["asked"] = encoder.ask(both, bias)
    for i in range(2):
        alone = encoder(images[i : i + 1], dense=True)
        alone["asked"] = encoder.ask(alone, bias[i : i + 1])
        for name, value in alone.items():
            torch.testing.assert_close(value[0], both[name][i], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_dense_map_is_an_argument_and_changes_nothing_else(encoder):
    images, _ = images_and_bias()
    without, along = (encoder(images, dense=dense) for dense in (False, True))
    assert set(along) - set(without) == {"dense"}
    for name, value in without.items():
        assert torch.equal(value, along[name])


@pytest.mark.parametrize("size", [(8, 8), (47, 33), (96, 16)])
@torch.no_grad()
def test_any_size_and_what_is_left_of_a_patch_is_lost(encoder, size):
    images, bias = images_and_bias(1, 2, *size)
    features = encoder(images, dense=True)
    grid = (size[0] // 8, size[1] // 8)
    assert features["block_4"].shape == (1, WIDTH, *grid)
    assert features["dense"].shape == (1, OUT, *grid)
    cut = encoder(images[..., : 8 * grid[0], : 8 * grid[1]], dense=True)
    assert torch.equal(features["dense"], cut["dense"])
    found = encoder.ask(features, bias)
    assert found.shape == (1, 2, OUT)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(1, 2))


def test_positions_learn_and_nothing_else():
    encoder = split().train()
    assert not encoder.training and not encoder.visual.training
    images, bias = images_and_bias()
    bias.requires_grad_(True)
    features = encoder(images, dense=True)
    (encoder.ask(features, bias)[..., 0].sum() + features["block_3"].std()).backward()
    learning = {name for name, p in encoder.named_parameters() if p.grad is not None}
    assert learning == {"visual.positional_embedding"}
    assert encoder.visual.positional_embedding.grad.abs().sum() > 0
    assert bias.grad.abs().sum() > 0


def test_frozen_as_a_whole_it_still_teaches_the_bias():
    encoder = split(trained=())
    images, bias = images_and_bias()
    features = encoder(images, dense=True)
    assert not any(value.requires_grad for value in features.values())
    encoder.ask(features, bias.requires_grad_(True))[..., 0].sum().backward()
    assert bias.grad.abs().sum() > 0


@torch.no_grad()
def test_bf16_is_finite_and_near(encoder):
    images, bias = images_and_bias()
    exact = encoder(images, dense=True)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = encoder(images, dense=True)
        asked = encoder.ask(rounded, bias)
    assert all(torch.isfinite(value).all() for value in (*rounded.values(), asked))
    torch.testing.assert_close(asked.float(), encoder.ask(exact, bias), atol=0.05, rtol=0)


def test_a_bias_of_one_head_is_for_all(encoder):
    images, bias = images_and_bias(heads=1)
    features = encoder(images, dense=False)
    every = encoder.ask(features, bias.expand(-1, HEADS, -1, -1, -1))
    torch.testing.assert_close(encoder.ask(features, bias), every)
    with pytest.raises(ValueError, match=r"bias: expected \(B, 4 or 1 heads"):
        encoder.ask(features, bias.expand(-1, 3, -1, -1, -1))


def test_pooling_keeps_the_strongest():
    bias = torch.zeros(1, 2, 3, 8, 8)
    bias[0, 1, 2, 5, 6] = 7
    pooled = pool_bias(bias, (4, 4))
    assert pooled.sum() == 7 and pooled[0, 1, 2, 2, 3] == 7


def test_shapes_are_told(encoder):
    shapes = encoder.output_shape()
    assert (shapes["block_3"].channels, shapes["block_3"].stride) == (WIDTH, 8)
    assert shapes["dense"].channels == OUT


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lower": 6}, r"lower: expected blocks from 0 to 5 of all 6, got \(6,\)"),
        ({"taps": (1, 5)}, "taps: expected blocks from 0 to 4"),
        ({"values_from": -1}, "values_from: expected blocks"),
        ({"trained": ("pos_embed",)}, "trained: expected parameters of CLIP's image tower"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        split(**settings)


def test_towers_of_other_kinds_are_refused():
    other = small_vit()
    other.pool_type = "avg"
    with pytest.raises(ValueError, match="MODEL.CLIP.NAME: expected a ViT of CLIP.*class token"):
        split(other)
    with pytest.raises(ValueError, match="no VisionTransformer"):
        split(nn.Identity())


@torch.no_grad()
def test_the_tower_itself_goes_on_working(encoder):
    """Its own picture is what the dense encoder of the house says, whoever wrapped it."""
    images, _ = images_and_bias(height=32, width=32)
    before = wrap_image_tower(small_vit(), finetune="none").encode(images)["dense"]
    assert torch.equal(
        wrap_image_tower(encoder.visual, finetune="none").encode(images)["dense"], before
    )
