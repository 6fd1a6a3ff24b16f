"""A loss at the labels' size without a score map of that size.

Score maps are many times coarser than labels, and a loss over all classes needs each upsampled
score only once. So a few rows of labels are taken at a time: upsampled, compared, differentiated,
forgotten. What stays is the gradient, of the score map's own size.

Shapes: B images, T classes, H x W label pixels, h x w score cells.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Bytes of one block of upsampled scores. The handful of tensors of this size should stay in a
# CPU's cache; an accelerator wants few, large launches.
BLOCK_BYTES = {"cpu": 2**22}
BLOCK_BYTES_ELSEWHERE = 2**26

BlockLoss = Callable[..., Tensor]


def sum_over_rows(logits: Tensor, target: Tensor, block_loss: BlockLoss, *more: Tensor) -> Tensor:
    """Sum a loss over all label pixels, a block of rows at a time.

    Equal to `block_loss(F.interpolate(logits, (H, W), mode="bilinear"), target)`. The gradient is
    computed along with the value, so the loss must be differentiated once at most.

    Args:
        logits: (B, T, h, w), of any floating type; upsampled and compared in float32 at least.
        target: (B, H, W) labels.
        block_loss: logits (b, T, r, W) of some rows and their labels (b, r, W) to the sum of their
            losses, a scalar. A pixel's loss depends on that pixel only. Gets of `more` the same
            rows behind the labels.
        more: (B, H, W) each, whatever else is known of label pixels.

    Returns:
        Scalar.
    """
    return _SumOverRows.apply(logits, block_loss, target, *more)


class _SumOverRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, block_loss: BlockLoss, *of_pixels: Tensor) -> Tensor:
        differentiate = ctx.needs_input_grad[0]
        dtype = torch.promote_types(logits.dtype, torch.float32)
        grad = torch.zeros_like(logits, dtype=dtype) if differentiate else None
        sums = []
        for images, rows, cells, upsample in _blocks(logits, of_pixels[0].shape[-2:], dtype):
            part = logits[images, :, cells].detach().to(dtype).requires_grad_(differentiate)
            with torch.set_grad_enabled(differentiate):
                loss = block_loss(upsample(part), *(x[images, rows] for x in of_pixels))
            sums.append(loss.detach())
            if differentiate:
                grad[images, :, cells] += torch.autograd.grad(loss, part)[0]
        ctx.save_for_backward(grad)
        ctx.dtype, ctx.others = logits.dtype, (None,) * (1 + len(of_pixels))
        return torch.stack(sums).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return (grad * grad_output).to(ctx.dtype), *ctx.others


def _blocks(
    logits: Tensor, size: torch.Size, dtype: torch.dtype
) -> Iterator[tuple[slice, slice, slice, Callable[[Tensor], Tensor]]]:
    """Images, label rows, score rows they lie on, and how to upsample those."""
    height, width = size
    budget = BLOCK_BYTES.get(logits.device.type, BLOCK_BYTES_ELSEWHERE)
    row_bytes = logits.shape[1] * width * dtype.itemsize
    num_images = max(1, budget // (row_bytes * height))
    num_rows = max(1, budget // row_bytes)
    low, high, share = _source_rows(logits.shape[2], height, dtype)
    table = [x.to(logits.device) for x in (low, high, share[:, None])]
    for top in range(0, height, num_rows):
        rows = slice(top, min(top + num_rows, height))
        cells = slice(int(low[rows][0]), int(high[rows][-1]) + 1)
        above, below, weight = (x[rows] for x in table)
        upsample = _Upsampling(above - cells.start, below - cells.start, weight, width)
        for first in range(0, logits.shape[0], num_images):
            yield slice(first, first + num_images), rows, cells, upsample


def _source_rows(cells: int, pixels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Score rows above and below each label row, and the weight of the lower; three times (H,)."""
    scale = torch.tensor(cells, dtype=dtype) / pixels
    position = (scale * (torch.arange(pixels, dtype=dtype) + 0.5) - 0.5).clamp(min=0)
    low = position.long()
    return low, (low + 1).clamp(max=cells - 1), position - low


class _Upsampling:
    """Bilinear, `align_corners` False, of some rows: rows by weights, columns by `interpolate`."""

    def __init__(self, above: Tensor, below: Tensor, weight: Tensor, width: int):
        self.above, self.below, self.weight, self.width = above, below, weight, width

    def __call__(self, scores: Tensor) -> Tensor:
        """(b, T, cells, w) to (b, T, rows, W)."""
        rows = torch.lerp(
            scores.index_select(2, self.above), scores.index_select(2, self.below), self.weight
        )
        # "linear" looks at two cells; "bilinear" would look at four, two of them for nothing.
        pixels = F.interpolate(
            rows.flatten(1, 2), size=self.width, mode="linear", align_corners=False
        )
        return pixels.unflatten(1, rows.shape[1:3])
