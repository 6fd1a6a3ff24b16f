"""Towers of every family as dense encoders: what a cell says, sizes, and who is refused."""

import json
from copy import deepcopy
from functools import partial
from importlib.util import find_spec

import open_clip
import pytest
import timm
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers import HybridEmbed, LayerNorm
from timm.models import vision_transformer as timm_vit
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.fastvit import FastVit
from timm.models.swin_transformer import SwinTransformer
from torch import nn
from torch.nn import functional as F

from stseg.modeling.encoders.clip import build_clip, create_clip
from stseg.modeling.encoders.towers import wrap_image_tower
from stseg.modeling.meta_arch.stseg import STSeg
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import CLIP_NAME, VIT_NAME, tiny_cfg

SIZE = 64  # pixels of the towers' own pictures
EVA = {"img_size": SIZE, "patch_size": 16, "embed_dim": 32, "depth": 4, "num_heads": 2} | {
    "use_rot_pos_emb": True,
    "ref_feat_shape": (3, 3),
}
VIT = {"img_size": SIZE, "patch_size": 16, "embed_dim": 32, "depth": 5, "num_heads": 2}
NATIVE = {"image_size": SIZE, "patch_size": 16, "width": 32, "layers": 4, "heads": 2} | {
    "mlp_ratio": 2.0,
    "output_dim": 24,
}


def adapted(trunk, proj="linear"):
    """open_clip's adapter around a trunk of our own sizes."""
    tower = TimmModel("test_resnet", 24, pool="", proj="linear", image_size=SIZE)
    tower.trunk = trunk
    tower.head = nn.Sequential()
    if proj:
        tower.head.proj = nn.Linear(trunk.num_features, 24)
    return tower


def hybrid():
    """As ViTamin: a ViT over the maps of a small convolutional net."""
    embed = partial(HybridEmbed, backbone=nn.Conv2d(3, 32, 16, stride=16), proj=False)
    sizes = VIT | {"patch_size": 1, "class_token": False, "global_pool": "avg", "num_classes": 0}
    return timm_vit.VisionTransformer(embed_layer=embed, **sizes)


FASTVIT = {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128), "mlp_ratios": (2, 2, 2, 2)}
SWIN = {"img_size": SIZE, "embed_dim": 16, "depths": (2, 2, 2, 1), "num_heads": (1, 2, 2, 2)}
EVA02 = {"use_post_norm": True, "swiglu_mlp": True, "scale_mlp": True, "qkv_fused": False}
PE = {"global_pool": "map", "attn_type": "rope", "use_pre_transformer_norm": True, "num_classes": 0}

PYRAMIDS = {
    "ConvNeXt": lambda: adapted(ConvNeXt(depths=(1,) * 4, dims=(8, 16, 24, 32), num_classes=0)),
    "ResNet of timm": lambda: TimmModel("test_resnet", 24, pool="", proj="mlp"),
    "MobileCLIP": lambda: adapted(FastVit(**FASTVIT, num_classes=24), proj=""),
    "Swin": lambda: adapted(SwinTransformer(**SWIN, window_size=4, num_classes=0)),
}
OVER_PATCHES = {  # towers that pool over their patches, and nothing else
    "SigLIP": lambda: adapted(
        timm_vit.VisionTransformer(**VIT, class_token=False, global_pool="map", num_classes=0), ""
    ),
    "mean of a ViT": lambda: adapted(
        timm_vit.VisionTransformer(**VIT, global_pool="avg", num_classes=24), ""
    ),
    "ViTamin": lambda: adapted(hybrid()),
    "CLIPA": lambda: VisionTransformer(
        **NATIVE, pool_type="avg", final_ln_after_pool=True, no_ln_pre=True
    ),
}
OTHERS = {
    "class token": lambda: adapted(timm_vit.VisionTransformer(**VIT, reg_tokens=2, num_classes=0)),
    "EVA02": lambda: adapted(Eva(**EVA, global_pool="token", num_classes=24, init_values=0.5), ""),
    "EVA02-E": lambda: adapted(Eva(**EVA, **EVA02, global_pool="token", num_classes=24), ""),
    "PE": lambda: adapted(Eva(**EVA, **PE)),
    "CoCa": lambda: VisionTransformer(**NATIVE, attentional_pool=True, attn_pooler_heads=2),
    "CLIP's ResNet": lambda: ModifiedResNet([1, 1, 1, 1], 24, heads=2, image_size=SIZE, width=8),
}
FAMILIES = {**PYRAMIDS, **OVER_PATCHES, **OTHERS}


def make(family):
    """A tower in evaluation mode, all of whose parameters matter."""
    torch.manual_seed(0)
    tower = FAMILIES[family]().eval()
    for weight in tower.parameters():
        if weight.abs().max() < 0.1:  # as made, so that a part left out would not be seen
            nn.init.normal_(weight, std=0.2)
    return tower


def encoder_of(tower):
    return wrap_image_tower(tower).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_of_any_size_gives_what_is_announced(family):
    encoder = encoder_of(make(family))
    announced = encoder.output_shape()
    assert list(announced) == ["res2", "res3", "res4", "res5", "dense"]
    for height, width in ((64, 64), (96, 160)):
        out = encoder(torch.rand(2, 3, height, width) * 255)
        for name, feats in out.items():
            stride = announced[name].stride
            assert feats.isfinite().all()
            assert feats.shape == (2, announced[name].channels, height // stride, width // stride)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one(family):
    encoder, images = encoder_of(make(family)), torch.rand(2, 3, 64, 96) * 255
    both = encoder(images)
    for i in range(2):
        for name, feats in encoder(images[i : i + 1]).items():
            torch.testing.assert_close(both[name][i : i + 1], feats, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_that_is_trained_has_a_gradient(family):
    encoder = encoder_of(make(family))
    sum(x.square().mean() for x in encoder(torch.rand(2, 3, 64, 96) * 255).values()).backward()
    for name, weight in encoder.named_parameters():
        assert (weight.grad is None) != weight.requires_grad, name
    moved = [w for w in encoder.parameters() if w.grad is not None and w.grad.abs().max() > 0]
    assert len(moved) > 0.8 * len(list(encoder.parameters()))


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_wrapping_changes_neither_weights_nor_what_the_tower_says_itself(family):
    tower = make(family)
    weights, images = deepcopy(tower.state_dict()), torch.randn(2, 3, SIZE, SIZE)
    before = tower(images)
    encoder_of(tower)
    assert weights.keys() == tower.state_dict().keys()
    assert all(torch.equal(weights[name], x) for name, x in tower.state_dict().items())
    assert torch.equal(before, tower(images))


@pytest.mark.parametrize("family", [*PYRAMIDS, "SigLIP", "PE", "EVA02", "class token"])
@torch.no_grad()
def test_stage_maps_at_the_towers_own_size_are_those_of_the_trunk(family):
    tower = make(family)
    images, trunk = torch.randn(2, 3, SIZE, SIZE), deepcopy(tower.trunk)
    encoder = encoder_of(tower)
    found = encoder.encode(images)
    every = trunk.forward_intermediates(images, intermediates_only=True)
    taps = {4: [0, 1, 1], 5: [0, 1, 2]}[len(every)] if family not in PYRAMIDS else [-4, -3, -2]
    for name, tap in zip(("res2", "res3", "res4"), taps, strict=True):
        assert torch.equal(found[name], every[tap])
    if family in PYRAMIDS:
        assert torch.equal(found["res5"], every[-1])


@pytest.mark.parametrize("family", [*PYRAMIDS, *OVER_PATCHES])
@torch.no_grad()
def test_a_picture_of_one_cell_embeds_as_the_tower_does(family):
    tower = make(family)
    encoder = encoder_of(tower)
    stride = encoder.output_shape()["dense"].stride
    images = torch.randn(3, 3, stride, stride)
    dense = encoder.encode(images)["dense"]
    assert dense.shape[-2:] == (1, 1)
    if isinstance(tower, VisionTransformer):  # which itself takes one size of pictures only
        positions = tower.positional_embedding
        cell = positions[1:].T.reshape(1, -1, 4, 4)
        cell = F.interpolate(cell, (1, 1), mode="bicubic", align_corners=False)
        tower.positional_embedding = nn.Parameter(torch.cat([positions[:1], cell[0, :, :, 0].T]))
    torch.testing.assert_close(dense[..., 0, 0], tower(images), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_attention_that_pools_gives_the_value_of_every_cell():
    """PE's class token is among the tokens that are pooled; a cell speaks without it."""
    tower = make("PE")
    images, trunk = torch.randn(2, 3, SIZE, SIZE), deepcopy(tower.trunk)
    dense = encoder_of(tower).encode(images)["dense"]
    pool, width = trunk.attn_pool, trunk.embed_dim
    cells = trunk.forward_features(images)[:, 1:]
    value = F.linear(cells, pool.kv.weight[width:], pool.kv.bias[width:])
    value = F.linear(value, pool.proj.weight, pool.proj.bias)
    value = tower.head(trunk.fc_norm(value + pool.mlp(pool.norm(value))))
    torch.testing.assert_close(dense.flatten(2).mT, value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["EVA02", "EVA02-E"])
@torch.no_grad()
def test_a_class_token_takes_the_value_of_every_cell_in_the_last_block(family):
    tower, seen = make(family), []
    images, trunk = torch.randn(2, 3, SIZE, SIZE), deepcopy(tower.trunk)
    trunk.blocks[-1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    trunk(images)
    block, tokens = trunk.blocks[-1], seen[0]
    attn = block.attn
    if family == "EVA02":
        width = trunk.embed_dim
        value = F.linear(block.norm1(tokens), attn.qkv.weight[2 * width :], attn.v_bias)
        y = tokens[:, :1] + block.gamma_1 * attn.proj(attn.norm(value))
        y = y + block.gamma_2 * block.mlp(block.norm2(y))
    else:
        value = attn.proj(attn.norm(attn.v_proj(tokens)))
        y = tokens[:, :1] + block.norm1(value)
        y = y + block.norm2(block.mlp(y))
    expected = trunk.head(trunk.fc_norm(trunk.norm(y)))[:, 1:]
    dense = encoder_of(tower).encode(images)["dense"]
    torch.testing.assert_close(dense.flatten(2).mT, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_same_clip_in_timms_form_and_in_open_clips_says_the_same():
    torch.manual_seed(0)
    ours = create_clip(VIT_NAME).visual.eval()
    sizes = VIT | {"embed_dim": 64, "depth": 4, "num_classes": 32, "pre_norm": True}
    trunk = timm_vit.VisionTransformer(**sizes, norm_layer=partial(LayerNorm, eps=1e-5)).eval()
    state = {f"visual.{name}": x for name, x in ours.state_dict().items()}
    trunk.load_state_dict(timm_vit.checkpoint_filter_fn(state, trunk))
    theirs = adapted(trunk, proj="").eval()
    images = torch.randn(2, 3, SIZE, SIZE)
    expected, found = encoder_of(ours).encode(images), encoder_of(theirs).encode(images)
    for name, feats in expected.items():
        torch.testing.assert_close(found[name], feats, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_cocas_pooler_gives_the_value_of_every_cell():
    tower = make("CoCa")
    images, pool = torch.randn(2, 3, SIZE, SIZE), tower.attn_pool
    tokens = pool.ln_k(tower.transformer(tower._embeds(images)))
    value = F.linear(tokens, pool.attn.v_proj_weight, pool.attn.in_proj_bias[48:])
    expected = (tower.ln_post(pool.attn.out_proj(value)) @ tower.proj)[:, 1:]
    dense = encoder_of(tower).encode(images)["dense"]
    torch.testing.assert_close(dense.flatten(2).mT, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_clips_resnet_gives_the_value_of_every_cell():
    tower = make("CLIP's ResNet")
    images, pool = torch.randn(2, 3, SIZE, SIZE), tower.attnpool
    out = encoder_of(tower).encode(images)
    maps = tower.layer1(tower.stem(images))
    assert torch.equal(out["res2"], maps)
    for layer in (tower.layer2, tower.layer3, tower.layer4):
        maps = layer(maps)
    assert torch.equal(out["res5"], maps)
    value = F.linear(maps.flatten(2).mT, pool.v_proj.weight, pool.v_proj.bias)
    expected = F.linear(value, pool.c_proj.weight, pool.c_proj.bias)
    torch.testing.assert_close(out["dense"].flatten(2).mT, expected)


@torch.no_grad()
def test_a_larger_picture_is_seen_as_timm_sees_it_with_positions_resized_for_good():
    for family in ("SigLIP", "PE", "class token"):
        tower = make(family)
        larger, images = deepcopy(tower), torch.randn(1, 3, 96, 128)
        larger.trunk.set_input_size((96, 128))
        expected = larger.trunk.forward_intermediates(images, indices=[1], intermediates_only=True)
        found = encoder_of(tower).encode(images)["res3"]
        torch.testing.assert_close(found, expected[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["MobileCLIP", "Swin", "SigLIP", "EVA02", "CLIPA", "CoCa"])
def test_recomputing_blocks_changes_no_gradient(family):
    images, grads = torch.rand(1, 3, 64, 96) * 255, []
    for recompute in (False, True):
        tower = make(family)
        encoder = wrap_image_tower(tower, gradient_checkpointing=recompute).eval()
        assert any(getattr(m, "grad_checkpointing", False) for m in tower.modules()) == recompute
        encoder(images)["dense"].square().mean().backward()
        grads.append([w.grad for w in encoder.parameters() if w.grad is not None])
    assert len(grads[0]) == len(grads[1]) > 10
    for plain, again in zip(*grads, strict=True):
        torch.testing.assert_close(plain, again)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_tower_stays_as_it_is(family):
    encoder = wrap_image_tower(make(family), finetune="none").train()
    state = deepcopy(encoder.state_dict())
    assert not encoder.visual.training
    assert not encoder(torch.rand(2, 3, 64, 64) * 255)["dense"].requires_grad
    assert all(torch.equal(state[name], x) for name, x in encoder.state_dict().items())


def tower_of_three_stages():
    return adapted(FastVit(**{k: v[:3] for k, v in FASTVIT.items()}, num_classes=0))


def tower_of_windows():
    return adapted(timm.create_model("test_maxvit", img_size=224, num_classes=0))


@pytest.mark.parametrize(
    ("make_tower", "told"),
    [
        (lambda: TimmModel("test_vit_relpos", 24, pool="", proj="linear"), "RelPos.*doesn't match"),
        (lambda: TimmModel("test_byobnet", 24, pool="rot_attn", proj=""), "outside its trunk"),
        (tower_of_windows, "MaxxVit.*window"),
        (tower_of_three_stages, "FastVit.*1 to 3"),
        (lambda: VisionTransformer(**NATIVE, attentional_pool="parallel"), "pooling"),
        (lambda: VisionTransformer(**NATIVE, pool_type="none"), "pooling"),
        (lambda: VisionTransformer(**NATIVE, block_type="custom"), "blocks"),
        (lambda: nn.Conv2d(3, 8, 3), "not open_clip's"),
    ],
)
def test_towers_that_cannot_be_right_are_refused_when_built(make_tower, told):
    with pytest.raises(ValueError, match=f"MODEL.CLIP.NAME.*{told}.*convnext_base_w_320"):
        wrap_image_tower(make_tower())


def test_recomputing_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match=r"GRADIENT_CHECKPOINTING.*ModifiedResNet"):
        wrap_image_tower(make("CLIP's ResNet"), gradient_checkpointing=True)


@pytest.fixture(scope="module")
def map_name(tmp_path_factory):
    """A small CLIP built as SigLIP (at whose name open_clip would take its tokenizer)."""
    path = tmp_path_factory.mktemp("open_clip_map") / "test_tiny_map.json"
    vision = {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"}
    text = {"context_length": 24, "width": 32, "heads": 2, "layers": 2} | {
        "no_causal_mask": True,
        "pool_type": "last",
        "proj_bias": True,
    }
    sizes = {"embed_dim": 64, "vision_cfg": {**vision, "image_size": 160}, "text_cfg": text}
    path.write_text(json.dumps({**sizes, "custom_text": True}))
    open_clip.add_model_config(path)
    return path.stem


def test_a_whole_model_trains_and_answers_over_such_a_tower(map_name):
    torch.manual_seed(0)
    model = STSeg(tiny_cfg(MODEL__CLIP__NAME=map_name))
    vocabulary = Vocabulary.parse("sky; tree; cat, kitten")
    image = torch.randint(0, 256, (3, 80, 100), dtype=torch.uint8)
    item = {"image": image, "vocabulary": vocabulary, "sem_seg": torch.randint(-1, 3, (80, 100))}
    losses = model.train()([item])
    assert losses and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    latent = model.image_encoder.visual.trunk.blocks[0].mlp.fc1.weight
    assert latent.grad.abs().max() > 0
    (answer,) = model.eval().label_maps([item])
    assert answer.labels.shape[-2:] == (80, 100)
    assert set(answer.labels.unique().tolist()) <= {0, 1, 2}


@pytest.mark.skipif(find_spec("transformers") is not None, reason="transformers is there.")
def test_what_needs_transformers_is_refused_by_name():
    with pytest.raises(ValueError, match=r"MODEL.CLIP.NAME.*text tower.*'roberta-ViT-B-32'"):
        create_clip("roberta-ViT-B-32")
    with pytest.raises(ValueError, match=r"tokenizer.*'ViT-B-16-SigLIP'.*PE-Core-B-16"):
        build_clip(tiny_cfg(MODEL__CLIP__NAME="ViT-B-16-SigLIP"))


@pytest.mark.parametrize(
    ("name", "mean"),
    [("PE-Core-T-16-384", 127.5), ("MobileCLIP2-S0", 0.0), (CLIP_NAME, 255 * 0.48145466)],
)
def test_pixels_are_normalised_as_for_the_published_weights(name, mean):
    encoder = wrap_image_tower(create_clip(name).visual)
    assert encoder.pixel_mean[0].item() == pytest.approx(mean)
