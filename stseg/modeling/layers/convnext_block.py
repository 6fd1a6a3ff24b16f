"""The decoder's ConvNeXt block: spatial aggregation of one class's score map (SED, section 3.2).

Shapes: N images x classes, C channels, H and W cells.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.layers.blocks import blocks


class ChannelLayerNorm(nn.Module):
    """Layer norm over the last axis, with weight and bias.

    Deliberately no subclass of `nn.LayerNorm`: the published optimiser settings give this norm
    weight decay and every `nn.LayerNorm` none (`stseg.engine.optimizer` decides by type).
    """

    def __init__(self, dim: int, *, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (..., C) over C."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, norm, pointwise MLP, layer scale and residual; no drop path."""

    def __init__(self, dim: int, *, kernel_size: int = 9, expansion: int = 4):
        """Build the block.

        Args:
            dim: channels C in and out.
            kernel_size: odd width of the depthwise kernel, in cells.
            expansion: width of the MLP's hidden layer, as a multiple of C.
        """
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm = ChannelLayerNorm(dim)
        self.expand = nn.Linear(dim, expansion * dim)
        self.project = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.project(F.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)

    def forward_in_blocks(self, x: Tensor) -> Tensor:
        """The same for (N, H, W, C), block by block, for evaluation."""
        result = torch.empty_like(x)
        weight, bias = self.project.weight * self.scale[:, None], self.project.bias * self.scale
        for part in blocks(len(x), x[0].numel(), x.device):
            rows = self.depthwise(x[part].permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(0, 2)
            before, after = x[part].flatten(0, 2), result[part].flatten(0, 2)
            for some in blocks(len(rows), self.expand.out_features, x.device):
                hidden = F.gelu(self.expand(self.norm(rows[some])))
                torch.add(F.linear(hidden, weight, bias), before[some], out=after[some])
        return result
