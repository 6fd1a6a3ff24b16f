"""Mean and spread of the pixels that an encoder was trained on, kept beside it."""

from collections.abc import Sequence

import open_clip
import torch
from torch import nn


def add_pixel_statistics(
    module: nn.Module, mean: Sequence[float], std: Sequence[float], scale: float = 1.0
) -> None:
    """Give a module the buffers `pixel_mean` and `pixel_std`, (3, 1, 1), which no file holds.

    Args:
        module: gets the buffers.
        mean: of red, green and blue.
        std: likewise.
        scale: 255 where these are of pixels in [0, 1].
    """
    for name, values in (("pixel_mean", mean), ("pixel_std", std)):
        pixels = scale * torch.tensor(values)[:, None, None]
        module.register_buffer(name, pixels, persistent=False)


def add_clip_statistics(module: nn.Module, visual: nn.Module) -> None:
    """Those of an image tower of open_clip, CLIP's own where it has none."""
    mean = getattr(visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN
    std = getattr(visual, "image_std", None) or open_clip.OPENAI_DATASET_STD
    add_pixel_statistics(module, mean, std, 255.0)
