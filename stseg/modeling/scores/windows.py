"""From images of any size to batches of the working size, and from scores back to pixels.

Shapes: T classes, H and W pixels of an image, all probabilities in [0, 1].
"""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from torch import Tensor
from torch.nn import functional as F

from stseg.config import check

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tiles:
    """How to evaluate by overlapping windows instead of by the whole image.

    Attributes:
        size: (height, width) of a window in pixels of the input image.
        overlap: share of a window that its neighbour covers again, in [0, 1).
        whole_image: average the windows' result with that of the whole image (CAT-Seg).
    """

    size: tuple[int, int]
    overlap: float = 1 / 3
    whole_image: bool = True

    def __post_init__(self) -> None:
        check("TEST.SLIDING_WINDOW.SIZE", self.size)
        check("TEST.SLIDING_WINDOW.OVERLAP", self.overlap)


def resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize of (B, C, H, W) to `size` without antialiasing, as SED is evaluated."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size=tuple(size), mode="bilinear", align_corners=False)


def pad_to_batch(images: Sequence[Tensor], values: Tensor | float) -> Tensor:
    """Stack images of mixed sizes, padded at the right and the bottom.

    Args:
        images: tensors (C, H_i, W_i) or (H_i, W_i).
        values: what to pad with, a number or (C, 1, 1).

    Returns:
        (B, C, H, W) or (B, H, W) with H and W the largest of the batch.
    """
    height = max(x.shape[-2] for x in images)
    width = max(x.shape[-1] for x in images)
    batch = images[0].new_empty(len(images), *images[0].shape[:-2], height, width)
    batch[:] = values
    for row, x in zip(batch, images, strict=True):
        row[..., : x.shape[-2], : x.shape[-1]] = x
    return batch


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """First pixels of the windows along one side; the last one ends at the border."""
    if window >= length:
        return [0]
    stride = max(int(window * (1 - overlap)), 1)
    return [*range(0, length - window, stride), length - window]


def predict_tiles(
    predict: Callable[[Tensor], Tensor], image: Tensor, tiles: Tiles, working_size: Sequence[int]
) -> Tensor:
    """Average the probabilities of overlapping windows.

    Args:
        predict: (1, 3, h, w) image of the working size -> (1, T, h', w') probabilities.
        image: (3, H, W); a side shorter than the window is taken whole.
        tiles: the windows.
        working_size: (h, w).

    Returns:
        (T, H, W).
    """
    height, width = image.shape[-2:]
    h, w = min(tiles.size[0], height), min(tiles.size[1], width)
    total, count = None, image.new_zeros(height, width)
    for top in window_starts(height, h, tiles.overlap):
        for left in window_starts(width, w, tiles.overlap):
            window = (slice(top, top + h), slice(left, left + w))
            crop = resize(image[(..., *window)][None], working_size)
            probs = resize(predict(crop), (h, w))[0]
            if total is None:
                total = probs.new_zeros(probs.shape[0], height, width)
            total[(..., *window)] += probs
            count[window] += 1
    assert total is not None  # there is at least one window
    probs = total / count
    if tiles.whole_image:
        whole = predict(resize(image[None], working_size))
        probs = (probs + resize(whole, (height, width))[0]) / 2
    return probs


def build_tiles(cfg: CfgNode) -> Tiles | None:
    """Read `TEST.SLIDING_WINDOW.*`; None when off."""
    window = cfg.TEST.SLIDING_WINDOW
    if not window.ENABLED:
        return None
    return Tiles(tuple(window.SIZE), window.OVERLAP, window.WHOLE_IMAGE_ENABLED)


@functools.cache  # so that the warning is given once
def evaluation_dtype(name: str, device: str) -> torch.dtype | None:
    """The type of autocast in evaluation on a kind of device, None for float32."""
    if name == "fp16" and device == "cpu":
        logger.warning("MODEL.DTYPE: fp16 is for GPUs, on the CPU bf16 is used instead.")
        name = "bf16"
    return DTYPES[name]
