"""A decoder stage for training that keeps little: chunks, each computed again in the backward pass.

Everything but class attention treats every class by itself, and class attention every position.
So the stage falls into three steps, cut along the classes, the positions, and the classes again;
between them only maps of the stage's own width are kept, within them nothing (gradient
checkpointing: Chen et al., "Training deep nets with sublinear memory cost", 2016). Recomputing a
stage whole would hold all that it makes at once when its turn comes, 27 GB for the last stage of
the published model at batch 4 and 171 classes.

Shapes: B images, T classes, n classes of a chunk, C channels, H and W cells, h and w pooled cells.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from stseg.modeling.layers.class_attention import ClassAttention
from stseg.modeling.layers.up_block import UpBlock

# About what a chunk holds while it is recomputed, in bytes. A CPU gains by its cache; an
# accelerator wants few, large launches.
CHUNK_BYTES = {"cpu": 2**25}
CHUNK_BYTES_ELSEWHERE = 2**29
_TOKEN_FLOATS = 32  # floats per channel that class attention keeps of a token
_SPATIAL_FLOATS = 12  # the same for the ConvNeXt block and a cell


def run_recomputed(
    stage: UpBlock,
    x: Tensor,
    image_guidance: Tensor,
    score_guidance: Tensor,
    *,
    pooling: int = 1,
    text_guidance: Tensor | None = None,
) -> Tensor:
    """`stage(...)`: the same arguments, result and gradients."""
    batch = image_guidance.shape[0]
    sizes = _chunk_sizes(stage, x, batch)
    spatial, pooled = zip(
        *(_recomputed(_spatial, stage, part, pooling) for part in x.split(sizes)), strict=True
    )
    texts = [None] * batch if text_guidance is None else text_guidance.unbind()
    per_image = len(sizes) // batch
    answers: list[Tensor] = []
    for image, text in enumerate(texts):
        mine = slice(image * per_image, (image + 1) * per_image)
        maps = _attend(stage.class_attention, torch.cat(pooled[mine]), text)
        answers += maps.split(sizes[mine])
    images = [g for g in image_guidance.unbind() for _ in range(per_image)]
    parts = zip(spatial, answers, images, score_guidance.split(sizes), strict=True)
    return torch.cat([_recomputed(_fuse, stage, *part) for part in parts])


def _recomputed(function: Callable, *args):
    # No random numbers are drawn, so their state need not be kept.
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)


def _budget(x: Tensor) -> int:
    return CHUNK_BYTES.get(x.device.type, CHUNK_BYTES_ELSEWHERE)


def _chunk_sizes(stage: UpBlock, x: Tensor, batch: int) -> list[int]:
    """Classes per chunk; no chunk holds classes of two images."""
    first = stage.fuse.layers[0]
    floats = _SPATIAL_FLOATS * x.shape[1] + 4 * (first.in_channels + 4 * first.out_channels)
    size = max(1, _budget(x) // (4 * floats * x.shape[-2] * x.shape[-1]))
    num_classes = x.shape[0] // batch
    return [min(size, num_classes - i) for i in range(0, num_classes, size)] * batch


def _spatial(stage: UpBlock, x: Tensor, pooling: int) -> tuple[Tensor, Tensor]:
    """(n, C, H, W) to the same and (n, C, h, w)."""
    y = stage.spatial(x)
    return y, (F.avg_pool2d(y, pooling) if pooling > 1 else y)


def _attend(layer: ClassAttention, x: Tensor, text: Tensor | None) -> Tensor:
    """What class attention adds to pooled maps (T, C, h, w) of one image; the same shape."""
    num_classes, dim, height, width = x.shape
    tokens = x.flatten(2).permute(2, 0, 1)  # (h w, T, C)
    size = max(1, _budget(x) // (4 * _TOKEN_FLOATS * num_classes * dim))
    parts = [_recomputed(_attend_block, layer, part, text) for part in tokens.split(size)]
    return torch.cat(parts).permute(1, 2, 0).unflatten(2, (height, width))


def _attend_block(layer: ClassAttention, tokens: Tensor, text: Tensor | None) -> Tensor:
    """Some positions (R, T, C), with text guidance (T, G) or None."""
    guidance = None if text is None else text.expand(tokens.shape[0], -1, -1)
    tokens = tokens + layer.attention(layer.norm1(tokens), guidance)
    return tokens + layer.mlp(layer.norm2(tokens))


def _fuse(stage: UpBlock, x: Tensor, answers: Tensor, image: Tensor, scores: Tensor) -> Tensor:
    """(n, C, H, W) and what follows in the stage, to (n, C', 2H, 2W)."""
    if answers.shape != x.shape:
        answers = F.interpolate(
            answers.contiguous(), size=x.shape[-2:], mode="bilinear", align_corners=True
        )
    y = stage.upsample(x + answers)
    return stage.fuse(torch.cat([y, image.expand(len(y), -1, -1, -1), scores], dim=1))
