"""Self-attention over the classes at every position (SED, section 3.2; after CAT-Seg).

Shapes: B images, T classes, C channels, H and W cells, h heads, d = C / h. No position encoding
is added, so the block is equivariant to the order of the classes and takes any number of them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check


def linear_attention(q: Tensor, k: Tensor, v: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Attention with the kernel elu(x) + 1: cost linear in the number of tokens.

    Katharopoulos et al., "Transformers are RNNs", ICML 2020, eq. 4-6, without a causal mask.

    Args:
        q: (N, T, h, d) queries.
        k: (N, T, h, d) keys.
        v: (N, T, h, d) values.
        eps: added to the normaliser.

    Returns:
        (N, T, h, d).
    """
    q, k = F.elu(q) + 1, F.elu(k) + 1
    num_tokens = v.shape[1]
    # Values are divided by T and the result multiplied again: sums stay small in half precision.
    context = torch.einsum("nshd,nshv->nhdv", k, v / num_tokens)
    normaliser = 1 / (torch.einsum("nthd,nhd->nth", q, k.sum(dim=1)) + eps)
    return torch.einsum("nthd,nhdv,nth->nthv", q, context, normaliser) * num_tokens


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention on (N, T, h, d) queries, keys and values."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


class ClassSelfAttention(nn.Module):
    """Multi-head attention over tokens; queries and keys may see extra guidance channels."""

    def __init__(
        self, dim: int, *, num_heads: int = 4, guidance_dim: int = 0, kind: str = "linear"
    ):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads: expected a divisor of dim ({dim}), got {num_heads}.")
        check("MODEL.SEM_SEG_HEAD.ATTENTION", kind)
        self.num_heads = num_heads
        self.q = nn.Linear(dim + guidance_dim, dim)
        self.k = nn.Linear(dim + guidance_dim, dim)
        self.v = nn.Linear(dim, dim)
        self.attend = linear_attention if kind == "linear" else softmax_attention

    def forward(self, x: Tensor, guidance: Tensor | None = None) -> Tensor:
        """Attend over T. `x` (N, T, C), `guidance` (N, T, G) or None; returns (N, T, C)."""
        y = x if guidance is None else torch.cat([x, guidance], dim=-1)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)) for t in (self.q(y), self.k(y), self.v(x)))
        return self.attend(q, k, v).flatten(-2)


class ClassAttention(nn.Module):
    """Pre-norm transformer layer over classes at every (pooled) position."""

    def __init__(
        self, dim: int, *, num_heads: int = 4, guidance_dim: int = 0, kind: str = "linear"
    ):
        """Build the layer.

        Args:
            dim: channels C.
            num_heads: attention heads, a divisor of C.
            guidance_dim: width G of text guidance, 0 for none.
            kind: "linear" (published) or "softmax".
        """
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = ClassSelfAttention(
            dim, num_heads=num_heads, guidance_dim=guidance_dim, kind=kind
        )
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, *, pooling: int = 1, guidance: Tensor | None = None) -> Tensor:
        """Let the classes of each position see each other.

        Args:
            x: (B, C, T, H, W).
            pooling: side of the average pooling before attention, in cells; the published model
                trains with 2 and is evaluated with 1.
            guidance: (B, T, G) text guidance, or None.

        Returns:
            (B, C, T, H, W). `x` enters twice, inside the layer and around it, as published.
        """
        b, c, t, height, width = x.shape
        y = x.flatten(1, 2)
        if pooling > 1:
            y = F.avg_pool2d(y, pooling)
        h, w = y.shape[-2:]
        tokens = y.reshape(b, c, t, h * w).permute(0, 3, 2, 1).reshape(b * h * w, t, c)
        if guidance is not None:
            guidance = guidance[:, None].expand(-1, h * w, -1, -1).reshape(b * h * w, t, -1)
        tokens = tokens + self.attention(self.norm1(tokens), guidance)
        tokens = tokens + self.mlp(self.norm2(tokens))
        y = tokens.reshape(b, h * w, t, c).permute(0, 3, 2, 1).reshape(b, c * t, h, w)
        if (h, w) != (height, width):
            y = F.interpolate(y, size=(height, width), mode="bilinear", align_corners=True)
        return x + y.reshape(b, c, t, height, width)
