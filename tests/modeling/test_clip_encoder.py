"""CLIP towers as dense encoders: shapes, sizes, freezing, and what stock open_clip says."""

from copy import deepcopy

import open_clip
import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.encoders.clip import create_clip
from stseg.modeling.encoders.towers import wrap_image_tower
from tests.helpers.tiny_model import CLIP_NAME, VIT_NAME


@pytest.fixture(params=[CLIP_NAME, VIT_NAME])
def clip(request):
    torch.manual_seed(0)
    return create_clip(request.param).eval()


def test_output_shapes_are_as_announced(clip):
    encoder = wrap_image_tower(clip.visual).eval()
    announced = encoder.output_shape()
    out = encoder(torch.rand(2, 3, 64, 96) * 255)
    assert set(out) == set(announced) == {"res2", "res3", "res4", "res5", "dense"}
    for name, feats in out.items():
        stride = announced[name].stride
        assert feats.shape == (2, announced[name].channels, 64 // stride, 96 // stride)
    assert announced["dense"].channels == 32


def test_a_picture_of_one_cell_embeds_as_open_clip_does():
    """With one cell, pooling does nothing: dense and stock embedding must agree."""
    clip = create_clip(CLIP_NAME).eval()
    encoder = wrap_image_tower(clip.visual).eval()
    images = torch.rand(2, 3, 32, 32) * 255
    normalised = (images - encoder.pixel_mean) / encoder.pixel_std
    dense = encoder(images)["dense"]
    assert dense.shape[-2:] == (1, 1)
    torch.testing.assert_close(dense[..., 0, 0], clip.encode_image(normalised))


def test_a_vit_at_its_own_size_runs_open_clips_blocks():
    clip = create_clip(VIT_NAME).eval()
    seen = []
    clip.visual.transformer.resblocks[-1].register_forward_pre_hook(
        lambda module, args: seen.append(args[0])
    )
    images = torch.rand(1, 3, 64, 64) * 255
    encoder = wrap_image_tower(clip.visual).eval()
    clip.encode_image((images - encoder.pixel_mean) / encoder.pixel_std)
    taps = encoder(images)
    block = clip.visual.transformer.resblocks[-1]
    tokens = seen[0]
    value = block.ln_1(tokens) @ block.attn.in_proj_weight[128:].T + block.attn.in_proj_bias[128:]
    y = tokens[:, :1] + block.attn.out_proj(value)
    y = clip.visual.ln_post(y + block.mlp(block.ln_2(y)))[:, 1:] @ clip.visual.proj
    torch.testing.assert_close(taps["dense"], y.transpose(1, 2).unflatten(2, (4, 4)))


def test_a_vit_at_another_size_sees_interpolated_positions_but_for_the_class_token():
    torch.manual_seed(0)
    visual = create_clip(VIT_NAME).eval().visual
    larger, positions = deepcopy(visual), visual.positional_embedding.detach()
    cells = positions[1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    cells = F.interpolate(cells, (8, 8), mode="bicubic", align_corners=False)
    cells = torch.cat([positions[:1], cells.flatten(2).transpose(1, 2)[0]])
    larger.positional_embedding = torch.nn.Parameter(cells)
    images = torch.rand(1, 3, 128, 128) * 255
    torch.testing.assert_close(
        wrap_image_tower(visual).eval()(images), wrap_image_tower(larger).eval()(images)
    )


def test_a_frozen_tower_has_no_gradient_and_stays_in_evaluation_mode(clip):
    encoder = wrap_image_tower(clip.visual, finetune="none").train()
    assert not encoder.visual.training
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder(torch.rand(1, 3, 64, 64) * 255)["dense"].requires_grad


def test_gradient_checkpointing_changes_no_number(clip):
    images = torch.rand(1, 3, 64, 64) * 255
    grads = []
    for checkpointing in (False, True):
        clip.visual.set_grad_checkpointing(False)
        encoder = wrap_image_tower(clip.visual, gradient_checkpointing=checkpointing).train()
        encoder.zero_grad()
        encoder(images)["dense"].sum().backward()
        grads.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert len(grads[0]) == len(grads[1]) > 10
    for plain, recomputed in zip(*grads, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_drop_path_is_what_the_config_says_and_not_open_clips_default():
    def rates(clip):
        return [m.drop_prob for m in clip.visual.modules() if type(m).__name__ == "DropPath"]

    stock = open_clip.get_model_config("convnext_base_w_320")["vision_cfg"]["timm_drop_path"]
    assert stock == 0.1  # why the rate is set by us
    assert rates(create_clip(CLIP_NAME)) == []
    assert max(rates(create_clip(CLIP_NAME, drop_path=0.2))) == pytest.approx(0.2)


def test_weights_load_from_a_local_file(tmp_path):
    clip = create_clip(CLIP_NAME)
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    again = create_clip(CLIP_NAME, str(tmp_path / "clip.pt"))
    for name, value in clip.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


def test_published_tags_are_known_to_open_clip():
    for name, tag in (
        ("convnext_base_w_320", "laion_aesthetic_s13b_b82k"),
        ("convnext_large_d_320", "laion2b_s29b_b131k_ft_soup"),
    ):
        assert tag in open_clip.list_pretrained_tags_by_model(name)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: create_clip("convnext_bass"), "MODEL.CLIP.NAME"),
        (lambda: create_clip(CLIP_NAME, "laion400m"), "MODEL.CLIP.PRETRAINED"),
        (lambda: wrap_image_tower(create_clip(CLIP_NAME).visual, finetune="half"), "FINETUNE"),
    ],
)
def test_bad_settings_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_cells_speak_for_themselves():
    """The dense embedding of a cell does not average over its neighbours' projections."""
    clip = create_clip(CLIP_NAME).eval()
    encoder = wrap_image_tower(clip.visual).eval()
    images = torch.rand(1, 3, 64, 64) * 255
    out = encoder(images)
    cells = clip.visual.trunk.norm_pre(out["res5"]).permute(0, 2, 3, 1)
    one = F.layer_norm(
        cells[0, 1, 0],
        cells.shape[-1:],
        clip.visual.trunk.head.norm.weight,
        clip.visual.trunk.head.norm.bias,
        clip.visual.trunk.head.norm.eps,
    )
    torch.testing.assert_close(out["dense"][0, :, 1, 0], clip.visual.head(one[None])[0])
