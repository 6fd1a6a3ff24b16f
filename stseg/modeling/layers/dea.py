"""DEA, dual-embedding aggregation of CLIP and SAM features (paper, section 2.1, eq. 1-4).

Shapes: B images, D channels of the CLIP embedding, S channels of the SAM embedding, h x w cells
of the CLIP map, L = h w tokens, d = D / heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check


class DEA(nn.Module):
    """Cross-attention from CLIP cells to SAM cells, self-attention, feed-forward.

    The formulas name no output projection and take the query, not the input, as the first
    residual; so does this module. With `num_heads` 1 it is eq. 1-4 to the letter.
    """

    def __init__(
        self,
        dim: int,
        sam_dim: int,
        *,
        num_heads: int = 8,
        ffn_ratio: int = 4,
        init: str = "identity",
        gated: bool = False,
        antialias: bool = False,
    ):
        """Build the module.

        Args:
            dim: width D of the CLIP embedding.
            sam_dim: width S of the SAM embedding.
            num_heads: attention heads, a divisor of D.
            ffn_ratio: hidden width of the feed-forward part, as a multiple of D.
            init: "identity" starts as the identity on the direction of the CLIP embedding, up to
                the mean that layer norm subtracts (W_Q = I, value and last feed-forward weights
                0), so that CLIP's alignment of image and text survives step 0; "xavier" is the
                plain random start.
            gated: add the formulas' direction to CLIP's instead of putting it in its place, times
                a scalar that starts at 0, so that step 0 is CLIP alone, to the last bit.
            antialias: see `align_map`.

        Raises:
            ValueError: if `num_heads` does not divide `dim`, or `init` is unknown.
        """
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads: expected a divisor of dim ({dim}), got {num_heads}.")
        check("MODEL.STSEG.DEA.INIT", init)
        self.num_heads = num_heads
        self.align = nn.Conv2d(sam_dim, dim, 1)
        self.cross_q = nn.Linear(dim, dim, bias=False)
        self.cross_k = nn.Linear(dim, dim, bias=False)
        self.cross_v = nn.Linear(dim, dim, bias=False)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_q = nn.Linear(dim, dim, bias=False)
        self.self_k = nn.Linear(dim, dim, bias=False)
        self.self_v = nn.Linear(dim, dim, bias=False)
        self.self_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(
            nn.Linear(dim, ffn_ratio * dim), nn.GELU(), nn.Linear(ffn_ratio * dim, dim)
        )
        self.ffn_norm = nn.LayerNorm(dim)
        self.gate = nn.Parameter(torch.zeros(1)) if gated else None
        self.antialias = antialias
        self._init_weights(init)

    def _init_weights(self, init: str) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if init == "identity":
            nn.init.eye_(self.cross_q.weight)
            for layer in (self.cross_v, self.self_v, self.ffn[-1]):
                nn.init.zeros_(layer.weight)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)

    def forward(self, clip_feats: Tensor, sam_feats: Tensor) -> Tensor:
        """Fuse the two embeddings.

        Args:
            clip_feats: F_c (B, D, h, w), not normalised.
            sam_feats: F_s (B, S, h', w') of any size; resized to (h, w) and projected to D.

        Returns:
            F_cv (B, D, h, w). Gated, it has the direction of F_c / |F_c| + g F / |F|, F being
            what the formulas give, and stays near the length of F_c.
        """
        h, w = clip_feats.shape[-2:]
        sam_feats = align_map(sam_feats, (h, w), antialias=self.antialias)
        clip_tokens = clip_feats.flatten(2).transpose(1, 2)
        sam_tokens = self.align(sam_feats).flatten(2).transpose(1, 2)
        q = self.cross_q(clip_tokens)  # eq. 1
        x = self._attend(q, self.cross_k(sam_tokens), self.cross_v(sam_tokens))
        x = self.cross_norm(q + x)  # eq. 2
        x = self.self_norm(
            x + self._attend(self.self_q(x), self.self_k(x), self.self_v(x))
        )  # eq. 3
        x = self.ffn_norm(x + self.ffn(x))  # eq. 4
        fused = x.transpose(1, 2).unflatten(2, (h, w))
        if self.gate is None:
            return fused
        # Cosines follow, so the length is free; this one leaves F_c itself where the gate is 0.
        length = torch.linalg.vector_norm(clip_feats, dim=1, keepdim=True)
        return clip_feats + self.gate * length * F.normalize(fused, dim=1)


def align_map(feats: Tensor, size: tuple[int, int], *, antialias: bool) -> Tensor:
    """Resize SAM's map to another one's cells, bilinearly.

    Args:
        feats: (B, S, h', w').
        size: (h, w).
        antialias: where the map shrinks, average all cells under a new one. Without it four are
            read, whatever lies between: of 64 x 64 to 24 x 24 nearly half are skipped.

    Returns:
        (B, S, h, w).
    """
    shrinks = feats.shape[-2] > size[0] or feats.shape[-1] > size[1]
    return F.interpolate(
        feats, size=size, mode="bilinear", align_corners=False, antialias=antialias and shrinks
    )
