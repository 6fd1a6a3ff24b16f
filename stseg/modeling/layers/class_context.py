"""Class attention over classes that come in chunks: memory does not depend on their number.

Linear attention needs two sums over all classes (SED, section 3.2; Katharopoulos et al., ICML
2020, eq. 5). One pass over the chunks adds them up, a second one answers. Evaluation only.

Shapes: n classes of a chunk, H and W cells, R = H W positions (pooled), C channels, M heads,
d = C / M.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.modeling.layers.blocks import blocks
from stseg.modeling.layers.class_attention import ClassAttention

EPS = 1e-6  # added to the normaliser, as `linear_attention` does


class ClassContext:
    """The two sums over the classes of one image, for one `ClassAttention` of kind "linear"."""

    def __init__(self, layer: ClassAttention, *, num_classes: int, pooling: int = 1):
        """Start with empty sums.

        Args:
            layer: whose weights are used.
            num_classes: classes that will be added in all.
            pooling: side of the average pooling before attention, in cells.
        """
        self.layer, self.num_classes, self.pooling = layer, num_classes, pooling
        self.dim, self.heads = layer.norm1.weight.shape[0], layer.attention.num_heads
        self.head_dim = self.dim // self.heads
        self.values: Tensor | None = None  # (R M, d, d): sum over classes of phi(k) v / T
        self.keys: Tensor | None = None  # (R, C): sum over classes of phi(k) / T
        # (C, M), 1 where the channel is of the head: sums over a head, and back, as products.
        self.of_head = torch.eye(self.heads).repeat_interleave(self.head_dim, dim=0)

    def add(self, x: Tensor, guidance: Tensor | None = None) -> None:
        """First pass.

        Args:
            x: (n, H, W, C), what the layer would get of these classes.
            guidance: (n, G) text guidance, or None.
        """
        tokens = self._tokens(x)
        if self.values is None or self.keys is None:
            positions = tokens.shape[1]
            shape = (positions * self.heads, self.head_dim, self.head_dim)
            self.values = torch.zeros(shape, dtype=torch.float32, device=x.device)
            self.keys = torch.zeros(positions, self.dim, dtype=torch.float32, device=x.device)
        key, value = self.layer.attention.k, self.layer.attention.v
        # Divided by T, sums stay small in half precision.
        weight, bias = value.weight / self.num_classes, value.bias / self.num_classes
        for part in blocks(tokens.shape[1], 4 * self.dim * len(x), x.device):
            y = self._normed(self.layer.norm1, tokens[:, part])
            k, v = self._phi(key, y, guidance), F.linear(y, weight, bias)
            self.keys[part] += k.sum(dim=0, dtype=torch.float32) / self.num_classes
            _add_product(self.values[self._rows(part)], self._heads(k).mT, self._heads(v))

    def answer(self, x: Tensor, guidance: Tensor | None = None) -> Tensor:
        """Second pass, when every class was added.

        Returns:
            (n, H, W, C), what the layer would give for these classes.
        """
        tokens = self._tokens(x)
        result = torch.empty_like(tokens, memory_format=torch.contiguous_format)
        of_head = self.of_head.to(x)
        query, (expand, _, project) = self.layer.attention.q, self.layer.mlp
        for part in blocks(tokens.shape[1], 4 * self.dim * len(x), x.device):
            block = tokens[:, part].contiguous()
            q = self._phi(query, self._normed(self.layer.norm1, block), guidance)
            normaliser = (q * self.keys[part]) @ of_head
            q *= normaliser.add_(EPS / self.num_classes).reciprocal_() @ of_head.T
            values = self.values[self._rows(part)].to(q.dtype)
            answers = torch.bmm(self._heads(q), values).transpose(0, 1)
            y = torch.add(block, answers.reshape(block.shape))
            hidden = F.relu_(expand(self._normed(self.layer.norm2, y)))
            if self.pooling == 1:  # the layer's input once more, as published
                y += block
            torch.add(project(hidden), y, out=result[:, part])
        return result.reshape(x.shape) if self.pooling == 1 else self._unpooled(x, result)

    def _tokens(self, x: Tensor) -> Tensor:
        """(n, R, C), pooled."""
        if self.pooling > 1:
            x = F.avg_pool2d(x.permute(0, 3, 1, 2), self.pooling).permute(0, 2, 3, 1)
        return x.flatten(1, 2)

    def _unpooled(self, x: Tensor, y: Tensor) -> Tensor:
        n, height, width, dim = x.shape
        y = y.reshape(n, height // self.pooling, width // self.pooling, dim).permute(0, 3, 1, 2)
        y = F.interpolate(y, size=(height, width), mode="bilinear", align_corners=True)
        return x + y.permute(0, 2, 3, 1)

    def _phi(self, linear: torch.nn.Linear, y: Tensor, guidance: Tensor | None) -> Tensor:
        """Linear attention's kernel, elu + 1, of projected normed tokens: (n, R, C)."""
        if guidance is None:
            y = linear(y)
        else:  # what text guidance adds is one and the same at every position of a class
            extra = F.linear(guidance, linear.weight[:, self.dim :], linear.bias)
            y = F.linear(y, linear.weight[:, : self.dim]) + extra[:, None]
        return y.clamp(max=0).exp_().add_(y.clamp_(min=0))

    def _heads(self, y: Tensor) -> Tensor:
        """(n, R, C) seen as (R M, n, d)."""
        return y.view(y.shape[0], -1, self.head_dim).transpose(0, 1)

    def _rows(self, part: slice) -> slice:
        return slice(part.start * self.heads, part.stop * self.heads)

    @staticmethod
    def _normed(norm: torch.nn.LayerNorm, x: Tensor) -> Tensor:
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _add_product(total: Tensor, first: Tensor, second: Tensor) -> None:
    """Add a batched matrix product in place, in the precision of `total`."""
    if total.dtype == first.dtype == second.dtype:
        total.baddbmm_(first, second)
    else:
        total += torch.bmm(first, second.to(first.dtype)).to(total.dtype)
