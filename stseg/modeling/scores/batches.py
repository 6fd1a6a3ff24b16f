"""From images of any size to batches of the working size, and the precision of evaluation."""

import functools
import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
logger = logging.getLogger(__name__)


def resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize of (B, C, H, W) to `size` without antialiasing, as SED is evaluated."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size=tuple(size), mode="bilinear", align_corners=False)


def pad_to_batch(images: Sequence[Tensor], values: Tensor | float, multiple: int = 1) -> Tensor:
    """Stack images of mixed sizes, padded at the right and the bottom.

    Args:
        images: tensors (C, H_i, W_i) or (H_i, W_i).
        values: what to pad with, a number or (C, 1, 1).
        multiple: that H and W are to be of.

    Returns:
        (B, C, H, W) or (B, H, W) with H and W the largest of the batch, or the next multiple.
    """
    height, width = (
        -(-max(x.shape[axis] for x in images) // multiple) * multiple for axis in (-2, -1)
    )
    batch = images[0].new_empty(len(images), *images[0].shape[:-2], height, width)
    batch[:] = values
    for row, x in zip(batch, images, strict=True):
        row[..., : x.shape[-2], : x.shape[-1]] = x
    return batch


@functools.cache  # so that the warning is given once
def evaluation_dtype(name: str, device: str) -> torch.dtype | None:
    """The type of autocast in evaluation on a kind of device, None for float32."""
    if name == "fp16" and device == "cpu":
        logger.warning("MODEL.DTYPE: fp16 is for GPUs, on the CPU bf16 is used instead.")
        name = "bf16"
    return DTYPES[name]
