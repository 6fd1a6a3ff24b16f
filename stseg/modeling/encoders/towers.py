"""Image towers of stock open_clip as dense encoders.

A tower gives a dense embedding that can be compared with text at every cell, and stage maps for
the decoder. One rule makes all of them dense: the tower's own pooling, norm and projection see one
cell at a time, as if each cell were a whole picture. For convolutional trunks that is what SED does
(CVPR 2024, section 3.1). Where attention pools, a query that may look at one cell alone takes this
cell's value, whatever its key: the value path (MaskCLIP, ECCV 2022), of a pooling layer or, where a
class token pools, of the last block, with the class token's own residual (CAT-Seg, CVPR 2024).

Shapes: B images, C channels of the embedding, L cells, H and W pixels.
"""

import torch
from detectron2.layers import ShapeSpec
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import AttentionalPooler, ResidualAttentionBlock, VisionTransformer
from timm.layers.format import Format
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from stseg.config import check
from stseg.modeling.encoders.patch_tokens import embed_patches
from stseg.modeling.encoders.pixel_statistics import add_clip_statistics

STAGES = ("res2", "res3", "res4", "res5")
# A multiple of all strides and patches in use, 14 and 18 among them.
_TRIAL = 2**7 * 3**2 * 7


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
            _recompute_blocks(visual)
        add_clip_statistics(self, visual)
        try:  # what divides 64, and is no multiple of windows
            self._shapes = self._try_out(3 * 64, 5 * 64)
        except ValueError:
            self._shapes = self._try_out(_TRIAL, _TRIAL // 2)
            stride = max(shape.stride for shape in self._shapes.values())
            self._try_out(3 * stride, 5 * stride)

    def train(self, mode: bool = True) -> "CLIPImageEncoder":
        """As `nn.Module.train`; a frozen tower stays in evaluation mode (no drop path)."""
        super().train(mode)
        self.visual.train(mode and self.trainable)
        return self

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and strides of what `forward` returns."""
        return dict(self._shapes)

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

    @torch.no_grad()
    def _try_out(self, height: int, width: int) -> dict[str, ShapeSpec]:
        """A picture goes through without being computed, so that errors come now."""
        state = {
            name: torch.empty_like(x, device="meta")
            for name, x in (*self.named_parameters(), *self.named_buffers())
        }
        images = torch.empty(1, 3, height, width, device="meta")
        try:
            maps = functional_call(self, state, (images,))
        except Exception as error:  # whatever a trunk of timm may raise
            raise _refusal(self.visual, f"{type(error).__name__}: {error}") from error
        shapes = {}
        for name, (_, channels, h, w) in ((name, x.shape) for name, x in maps.items()):
            shapes[name] = ShapeSpec(channels=channels, stride=height // h)
            if (h * shapes[name].stride, w * shapes[name].stride) != (height, width):
                raise _refusal(self.visual, f"{name}: {h} x {w} cells for {height} x {width}")
        return shapes


class CLIPPyramid(CLIPImageEncoder):
    """timm trunks of maps that shrink: raw maps of the last four stages, dense at the last."""

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Encode normalised images; see `forward`."""
        trunk = self.visual.trunk
        last, maps = trunk.forward_intermediates(images, indices=len(STAGES))
        channels_last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"
        cells = last if channels_last else last.permute(0, 2, 3, 1)
        pictures = cells.flatten(0, 2)[:, None, None]
        if not channels_last:
            pictures = pictures.permute(0, 3, 1, 2)
        dense = self.visual.head(trunk.forward_head(pictures)).unflatten(0, cells.shape[:3])
        return {**dict(zip(STAGES, maps, strict=True)), "dense": dense.permute(0, 3, 1, 2)}


class CLIPTimmViT(CLIPImageEncoder):
    """timm trunks of tokens; maps as those of `CLIPViT`."""

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Encode normalised images; see `forward`."""
        trunk = self.visual.trunk
        depth, extra = len(trunk.blocks), trunk.num_prefix_tokens
        by_class = trunk.global_pool == "token"
        taps = _taps(depth)
        indices = sorted({*taps, depth - 2} if by_class else {*taps})
        if by_class:
            pairs = trunk.forward_intermediates(
                images,
                indices=indices,
                return_prefix_tokens=True,
                stop_early=True,
                intermediates_only=True,
            )
            maps = [cells for cells, _ in pairs]
            cells = self._class_token_at_each(*pairs[-1])
        else:
            tokens, maps = trunk.forward_intermediates(images, indices=indices)
            cells = tokens[:, extra:]
        # Class and register tokens are the cell, too, for whoever pools over them.
        pictures = cells.flatten(0, 1)[:, None].expand(-1, 1 + extra, -1)
        dense = self.visual.head(trunk.forward_head(pictures)).unflatten(0, cells.shape[:2])
        grid = maps[0].shape[-2:]
        stages = [maps[indices.index(tap)] for tap in taps]
        ends = [x.transpose(1, 2).unflatten(2, grid) for x in (cells, dense)]
        return dict(zip((*STAGES, "dense"), (*stages, *ends), strict=True))

    def _class_token_at_each(self, maps: Tensor, extra: Tensor) -> Tensor:
        """Last block and norm, for a class token per cell that sees nothing but its cell.

        Args:
            maps: (B, width, h, w), of the last block but one.
            extra: (B, n, width), class token first.

        Returns:
            (B, L, width).
        """
        cells = maps.flatten(2).transpose(1, 2)
        pairs = torch.stack([extra[:, :1].expand_as(cells), cells], dim=2)
        mask = pairs.new_tensor([[-torch.inf, 0.0], [0.0, 0.0]])
        trunk = self.visual.trunk
        seen = trunk.blocks[-1](pairs.flatten(0, 1), attn_mask=mask)[:, 0]
        return trunk.norm(seen).unflatten(0, cells.shape[:2])


class CLIPViT(CLIPImageEncoder):
    """All maps at the patch stride: blocks at 1/4, 1/2 and 3/4 of the depth, and the last."""

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Encode normalised images of any size; positions are resized for the call."""
        visual = self.visual
        tokens, grid = embed_patches(visual, images)
        blocks = visual.transformer.resblocks
        outputs = []
        for block in blocks[:-1]:
            tokens = self._run(block, tokens)
            outputs.append(tokens)
        if visual.attn_pool is not None:
            last = self._run(blocks[-1], tokens)
            cells = visual.ln_post(_pool_each(visual.attn_pool, last))
        else:
            by_class = visual.pool_type == "tok"
            last = _value_path(blocks[-1], tokens) if by_class else self._run(blocks[-1], tokens)
            last = cells = visual.ln_post(last)
        dense = cells if visual.proj is None else cells @ visual.proj
        maps = [*(outputs[tap] for tap in _taps(len(blocks))), last, dense]
        maps = [m[:, 1:].transpose(1, 2).unflatten(2, grid) for m in maps]
        return dict(zip((*STAGES, "dense"), maps, strict=True))

    def _run(self, block: nn.Module, tokens: Tensor) -> Tensor:
        if self.visual.transformer.grad_checkpointing and self.training:
            return checkpoint(block, tokens, use_reentrant=False)
        return block(tokens)


class CLIPResNet(CLIPImageEncoder):
    """CLIP's own ResNets: four stages, and the value path of their attention pooling."""

    def __init__(self, visual: ModifiedResNet, **kwargs):
        """Wrap a tower, of which what only leads to attention weights is not trained."""
        super().__init__(visual, **kwargs)
        for unused in (visual.attnpool.q_proj, visual.attnpool.k_proj):
            unused.requires_grad_(False)
        visual.attnpool.positional_embedding.requires_grad_(False)

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Encode normalised images; see `forward`."""
        visual = self.visual
        maps = visual.forward_intermediates(images, indices=[1, 2, 3, 4], intermediates_only=True)
        maps = maps["image_intermediates"]
        cells = maps[-1].permute(0, 2, 3, 1)
        dense = visual.attnpool.c_proj(visual.attnpool.v_proj(cells))
        return {**dict(zip(STAGES, maps, strict=True)), "dense": dense.permute(0, 3, 1, 2)}


def wrap_image_tower(visual: nn.Module, **kwargs) -> CLIPImageEncoder:
    """Make the dense encoder that fits a tower.

    Args:
        visual: image tower of an open_clip model. timm's position and mask code is switched to
            pictures of any size, which changes no weight and nothing at the tower's own size.
        **kwargs: `finetune` ("full" trains the whole tower, as published; "none" freezes it) and
            `gradient_checkpointing` (recompute blocks in the backward pass to save memory).

    Raises:
        ValueError: for a tower that cannot say of a cell what it says of a picture, or takes one
            size of pictures only; for an unknown mode.
    """
    if isinstance(visual, ModifiedResNet):
        return CLIPResNet(visual, **kwargs)
    if isinstance(visual, VisionTransformer):
        if getattr(visual, "attn_pool_contrastive", None) is not None or visual.pool_type == "none":
            raise _refusal(visual, "its pooling is not open_clip's class token, mean or pooler")
        if any(type(x) is not ResidualAttentionBlock for x in visual.transformer.resblocks):
            raise _refusal(visual, "its blocks are not CLIP's own")
        return CLIPViT(visual, **kwargs)
    if not isinstance(visual, TimmModel):
        raise _refusal(visual, "it is not open_clip's")
    if "pool" in visual.head._modules:
        raise _refusal(visual, "it pools outside its trunk")
    _accept_any_size(visual.trunk)
    tokens = hasattr(visual.trunk, "num_prefix_tokens")
    return (CLIPTimmViT if tokens else CLIPPyramid)(visual, **kwargs)


def _refusal(visual: nn.Module, reason: str) -> ValueError:
    trunk = getattr(visual, "trunk", visual)
    return ValueError(
        "MODEL.CLIP.NAME: expected an image tower that can be asked at every cell of a picture of "
        f"any size, got {type(trunk).__name__} ({reason}). ConvNeXt, ViT, ResNet, SigLIP2, PE, "
        "EVA02, MobileCLIP and ViTamin work, such as convnext_base_w_320 or ViT-B-16."
    )


def _recompute_blocks(visual: nn.Module) -> None:
    trunk = getattr(visual, "trunk", visual)
    try:
        if isinstance(visual, ModifiedResNet):
            raise NotImplementedError  # its method exists, and does nothing
        trunk.set_grad_checkpointing(True)
    except (AssertionError, AttributeError, NotImplementedError) as error:
        raise ValueError(
            "MODEL.CLIP.GRADIENT_CHECKPOINTING: expected False, for "
            f"{type(trunk).__name__} has none, got True. Set it to False, or MODEL.CLIP.NAME "
            "to a ViT or ConvNeXt."
        ) from error


def _accept_any_size(trunk: nn.Module) -> None:
    """Turn the switches that timm's constructors turn for `dynamic_img_size`."""
    if not hasattr(trunk, "dynamic_img_size"):
        return
    trunk.dynamic_img_size = True
    embed = trunk.patch_embed
    embed.strict_img_size, embed.flatten, embed.output_fmt = False, False, Format.NHWC
    for module in trunk.modules():
        if hasattr(module, "dynamic_mask"):  # windows of Swin
            module.dynamic_mask = True
        if hasattr(module, "_use_cached_embed"):  # rotary positions
            module._use_cached_embed = False


def _taps(depth: int) -> list[int]:
    """Blocks whose outputs are the first three stage maps of a ViT."""
    return [max(round((depth - 1) * part) - 1, 0) for part in (0.25, 0.5, 0.75)]


def _value_path(block: nn.Module, tokens: Tensor) -> Tensor:
    """Last block with attention replaced by each token's own value; (B, 1 + L, C) in and out."""
    attention, width = block.attn, tokens.shape[-1]
    y = block.ln_1(tokens)
    y = F.linear(y, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    y = tokens[:, :1] + block.ls_1(attention.out_proj(y))
    return y + block.ls_2(block.mlp(block.ln_2(y)))


def _pool_each(pooler: AttentionalPooler, tokens: Tensor) -> Tensor:
    """CoCa's pooling of each token alone, for which all its queries say the same; (B, 1 + L, C)."""
    keys = pooler.ln_k(tokens).flatten(0, 1)[:, None]
    query = pooler.ln_q(pooler.query[:1]).expand(len(keys), -1, -1)
    seen = pooler.attn(query, keys, keys, need_weights=False)[0]
    return seen[:, 0].unflatten(0, tokens.shape[:2])
