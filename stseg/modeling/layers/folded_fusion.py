"""A stage's second half for chunks of classes, with fewer products and the same result.

Three exact savings over `UpBlock`: the transposed convolution and the share of the following
convolution that reads it are one convolution at the low resolution; the share of image guidance,
the same for every class, is computed once; nothing is repeated or concatenated. Evaluation only.

Shapes: n classes of one image, H and W cells, C channels in, O out.
"""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.modeling.layers.blocks import blocks
from stseg.modeling.layers.up_block import UpBlock


def fold(up_weight: Tensor, conv_weight: Tensor) -> Tensor:
    """One kernel for a 2x2 transposed convolution of stride 2 followed by a 3x3 convolution.

    Args:
        up_weight: (C, U, 2, 2) of `ConvTranspose2d`.
        conv_weight: (O, U, 3, 3) of `Conv2d` with padding 1.

    Returns:
        (C, O, 4, 4) of a transposed convolution with stride 2 and padding 1.
    """
    folded = up_weight.new_zeros(up_weight.shape[0], conv_weight.shape[0], 4, 4)
    for u, v in product(range(3), repeat=2):
        # Cell 2 i + p of the doubled map reaches output 2 i + p - (u - 1) = 2 i - 1 + (p - u + 2).
        share = torch.einsum("cmpq,om->copq", up_weight, conv_weight[:, :, u, v])
        folded[:, :, 2 - u : 4 - u, 2 - v : 4 - v] += share
    return folded


class FoldedFusion:
    """`UpBlock.upsample` and `UpBlock.fuse` of one image."""

    def __init__(self, stage: UpBlock, image_guidance: Tensor):
        """Fold the weights and compute what all classes share.

        Args:
            stage: whose weights are used.
            image_guidance: (1, G, 2H, 2W).
        """
        first = stage.fuse.layers[0]
        up_dim, image_dim = stage.upsample.weight.shape[1], image_guidance.shape[1]
        up, image, score = first.weight.split(
            [up_dim, image_dim, first.weight.shape[1] - up_dim - image_dim], dim=1
        )
        self.stage = stage
        self.kernel = fold(stage.upsample.weight, up)
        self.score_kernel = _channels_last(score)
        bias = stage.upsample.bias[None, :, None, None].expand(-1, -1, *image_guidance.shape[-2:])
        shared = F.conv2d(image_guidance, image, padding=1) + F.conv2d(bias, up, padding=1)
        self.shared = _channels_last(shared)

    def __call__(self, x: Tensor, score_guidance: Tensor) -> Tensor:
        """Double the resolution.

        Args:
            x: (n, H, W, C) answers of class attention.
            score_guidance: (n, S, 2H, 2W).

        Returns:
            (n, 2H, 2W, O).
        """
        n, height, width, _ = x.shape
        result = x.new_empty(n, 2 * height, 2 * width, self.kernel.shape[1])
        for part, y in self.parts(x, score_guidance):
            result[part] = y
        return result

    def parts(self, x: Tensor, score_guidance: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The same block by block: classes and their (., 2H, 2W, O), still in a CPU's cache."""
        n, height, width, _ = x.shape
        _, norm1, _, conv2, norm2, _ = self.stage.fuse.layers
        for part in blocks(n, 4 * self.kernel.shape[1] * height * width, x.device):
            y = F.conv_transpose2d(x[part].permute(0, 3, 1, 2), self.kernel, stride=2, padding=1)
            y += F.conv2d(score_guidance[part], self.score_kernel, padding=1)
            y += self.shared
            y = F.relu_(norm2(conv2(F.relu_(norm1(y)))))
            yield part, y.permute(0, 2, 3, 1)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
