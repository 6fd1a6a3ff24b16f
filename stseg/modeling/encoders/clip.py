"""CLIP image towers of stock open_clip as dense encoders.

A tower gives a dense embedding that can be compared with text at every cell, and stage maps for
the decoder. ConvNeXt towers do it as in SED (CVPR 2024, section 3.1): the tower's own norm and
projection, applied to every cell instead of to the pooled feature. ViT towers take the value path
of their last block (MaskCLIP, ECCV 2022; with CAT-Seg's residual, CVPR 2024).

Shapes: B images, C channels of the embedding, H and W pixels.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import open_clip
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from safetensors import SafetensorError
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from stseg.checkpoint import LOADED_NEXT, RANDOM, READ_ERRORS, reason_of
from stseg.config import check
from stseg.modeling.encoders.convnext_mini import add_mini_configs
from stseg.utils import resolve

logger = logging.getLogger(__name__)

STAGES = ("res2", "res3", "res4", "res5")

add_mini_configs()


def create_clip(name: str, pretrained: str = RANDOM, *, drop_path: float = 0.0) -> nn.Module:
    """Make an open_clip model on the CPU in float32.

    Args:
        name: open_clip architecture, such as "convnext_base_w_320".
        pretrained: a tag of open_clip ("laion_aesthetic_s13b_b82k", fetched from its hub), a local
            file or a `stseg://` path, read as data only; "random" for random weights, with a
            warning; `LOADED_NEXT` without one, for who loads a checkpoint next. A config has no
            such default.
        drop_path: stochastic depth of ConvNeXt towers in training, in [0, 1). Stock open_clip has
            0.1 for base; SED trains base with 0 and large with 0.1.

    Raises:
        ValueError: for an unknown name, a `pretrained` that is neither tag nor file, or a file that
            holds another model.
    """
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(
            f"MODEL.CLIP.NAME: expected an open_clip architecture, got {name!r}. "
            "Try convnext_base_w_320, convnext_large_d_320 or ViT-B-16."
        )
    overrides = {}
    if "timm_model_name" in config["vision_cfg"]:
        overrides["vision_cfg"] = {**config["vision_cfg"], "timm_drop_path": drop_path}
    check_clip_pretrained(name, pretrained)
    if pretrained in open_clip.list_pretrained_tags_by_model(name):
        return open_clip.create_model(name, pretrained=pretrained, **overrides)
    with _silent_root_logger():
        clip = open_clip.create_model(name, pretrained=None, **overrides)
    if pretrained == RANDOM:
        logger.warning("MODEL.CLIP.PRETRAINED is 'random': CLIP %s has learnt nothing.", name)
    elif pretrained != LOADED_NEXT:
        _load_clip(clip, name, pretrained)
    return clip


@contextmanager
def _silent_root_logger() -> Iterator[None]:
    """Inside, open_clip does not say of a model whose weights come next that it is random.

    Nor does it set up the root logger: the first line to one without handlers does.
    """
    root, handler = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def check_clip_pretrained(name: str, pretrained: str) -> None:
    """Refuse a CLIP without weights, unless "random" is written out.

    Raises:
        ValueError: if `pretrained` is no tag of this architecture, no file and not "random".
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained in (*tags, RANDOM, LOADED_NEXT) or (
        pretrained and Path(resolve(pretrained)).is_file()
    ):
        return
    raise ValueError(
        f"MODEL.CLIP.PRETRAINED: expected a file or a tag of {name!r} "
        f"({', '.join(tags) or 'none'}), got {pretrained!r}. To try something out, write "
        f"{RANDOM!r}."
    )


def _load_clip(clip: nn.Module, name: str, path: str) -> None:
    try:
        open_clip.load_checkpoint(clip, resolve(path), weights_only=True)
    except (*READ_ERRORS, SafetensorError, StopIteration) as error:
        raise ValueError(
            f"MODEL.CLIP.PRETRAINED: expected the weights of CLIP {name!r}, got {path!r}, which "
            f"holds others or cannot be read as data ({reason_of(error)}). "
            "Set MODEL.CLIP.NAME to the file's model, or fetch the file again."
        ) from error


class CLIPImageEncoder(nn.Module):
    """A dense image encoder around `clip.visual`; subclasses know their family of towers."""

    def __init__(
        self, visual: nn.Module, *, finetune: str = "full", gradient_checkpointing: bool = False
    ):
        """Wrap a tower; see `wrap_image_tower`."""
        super().__init__()
        self.visual = visual
        self.trainable = check("MODEL.CLIP.FINETUNE", finetune) == "full"
        self.visual.requires_grad_(self.trainable)
        if gradient_checkpointing:
            self.visual.set_grad_checkpointing(True)
        mean = getattr(visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN
        std = getattr(visual, "image_std", None) or open_clip.OPENAI_DATASET_STD
        self.register_buffer(
            "pixel_mean", 255 * torch.tensor(mean)[:, None, None], persistent=False
        )
        self.register_buffer("pixel_std", 255 * torch.tensor(std)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> "CLIPImageEncoder":
        """As `nn.Module.train`; a frozen tower stays in evaluation mode (no drop path)."""
        super().train(mode)
        self.visual.train(mode and self.trainable)
        return self

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and strides of what `forward` returns."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Encode normalised images; see `forward`."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Encode a batch.

        Args:
            images: (B, 3, H, W) RGB in [0, 255]; H and W multiples of the tower's stride.

        Returns:
            "dense": (B, C, h, w), comparable with text embeddings once both are normalised;
            "res2" to "res5": stage maps, finest first, see `output_shape`.
        """
        return self.encode((images - self.pixel_mean) / self.pixel_std)


class CLIPConvNeXt(CLIPImageEncoder):
    """Raw stage maps at strides 4 to 32 (usual stem) and the dense embedding at the last."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and strides of what `forward` returns."""
        info = self.visual.trunk.feature_info
        shapes = {
            name: ShapeSpec(channels=entry["num_chs"], stride=entry["reduction"])
            for name, entry in zip(STAGES, info, strict=True)
        }
        widths = [m.out_features for m in self.visual.head.modules() if isinstance(m, nn.Linear)]
        dim = widths[-1] if widths else info[-1]["num_chs"]
        return {**shapes, "dense": ShapeSpec(channels=dim, stride=info[-1]["reduction"])}

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Encode normalised images; see `forward`."""
        visual = self.visual
        maps = visual.forward_intermediates(images, indices=[0, 1, 2, 3], intermediates_only=True)
        maps = maps["image_intermediates"]
        cells = visual.trunk.norm_pre(maps[-1])
        # Norm and projection see one cell at a time, as if each were a pooled image.
        cells = visual.trunk.head.norm(cells).permute(0, 2, 3, 1)
        dense = visual.head(cells.flatten(0, 2)).unflatten(0, cells.shape[:3])
        return {**dict(zip(STAGES, maps, strict=True)), "dense": dense.permute(0, 3, 1, 2)}


class CLIPViT(CLIPImageEncoder):
    """All maps at the patch stride: blocks at 1/4, 1/2 and 3/4 of the depth, and the last."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and strides of what `forward` returns."""
        width, stride = self.visual.conv1.out_channels, self.visual.conv1.stride[0]
        dim = width if self.visual.proj is None else self.visual.proj.shape[1]
        shapes = {name: ShapeSpec(channels=width, stride=stride) for name in STAGES}
        return {**shapes, "dense": ShapeSpec(channels=dim, stride=stride)}

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Encode normalised images of any size; positions are resized for the call."""
        visual = self.visual
        grid = tuple(n // visual.conv1.stride[0] for n in images.shape[-2:])
        # The class token's position comes first and stays.
        (positions,) = resample_abs_pos_embed(
            visual.positional_embedding[None], list(grid), antialias=False
        )
        tokens = functional_call(
            _PatchEmbed(visual), {"visual.positional_embedding": positions}, (images,)
        )
        blocks = visual.transformer.resblocks
        taps = [round((len(blocks) - 1) * depth) for depth in (0.25, 0.5, 0.75)]
        outputs = []
        for block in blocks[:-1]:
            if visual.transformer.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
            outputs.append(tokens)
        last = visual.ln_post(_value_path(blocks[-1], tokens))
        dense = last if visual.proj is None else last @ visual.proj
        maps = [*(outputs[max(tap - 1, 0)] for tap in taps), last, dense]
        maps = [m[:, 1:].transpose(1, 2).unflatten(2, grid) for m in maps]
        return dict(zip((*STAGES, "dense"), maps, strict=True))


def wrap_image_tower(visual: nn.Module, **kwargs) -> CLIPImageEncoder:
    """Make the dense encoder that fits a tower.

    Args:
        visual: image tower of an open_clip model, ConvNeXt (timm) or ViT.
        **kwargs: `finetune` ("full" trains the whole tower, as published; "none" freezes it) and
            `gradient_checkpointing` (recompute blocks in the backward pass to save memory).

    Raises:
        ValueError: for a tower of another family or an unknown mode.
    """
    if hasattr(visual, "trunk") and hasattr(visual.trunk, "stages"):
        return CLIPConvNeXt(visual, **kwargs)
    if hasattr(visual, "transformer") and hasattr(visual, "class_embedding"):
        return CLIPViT(visual, **kwargs)
    raise ValueError(
        f"MODEL.CLIP.NAME: expected a ConvNeXt or ViT image tower, got {type(visual).__name__}."
    )


class _PatchEmbed(nn.Module):
    """Makes `visual._embeds` (patches, class token, positions) a module's forward."""

    def __init__(self, visual: nn.Module):
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        return self.visual._embeds(images)


def _value_path(block: nn.Module, tokens: Tensor) -> Tensor:
    """Last block with attention replaced by each token's own value; (B, 1 + L, C) in and out."""
    attention, width = block.attn, tokens.shape[-1]
    y = block.ln_1(tokens)
    y = F.linear(y, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    y = tokens[:, :1] + block.ls_1(attention.out_proj(y))
    return y + block.ls_2(block.mlp(block.ln_2(y)))


def build_clip(cfg: CfgNode) -> nn.Module:
    """The whole CLIP of `MODEL.CLIP.*`; its towers go to the image and the text encoder."""
    clip = cfg.MODEL.CLIP
    return create_clip(clip.NAME, clip.PRETRAINED, drop_path=clip.DROP_PATH)


def build_image_encoder(cfg: CfgNode, visual: nn.Module) -> CLIPImageEncoder:
    """The dense encoder of `MODEL.CLIP.*` around a tower."""
    clip = cfg.MODEL.CLIP
    return wrap_image_tower(
        visual, finetune=clip.FINETUNE, gradient_checkpointing=clip.GRADIENT_CHECKPOINTING
    )
