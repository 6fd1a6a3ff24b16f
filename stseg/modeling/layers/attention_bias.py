"""Where CLIP's heads look for a query's region (EBSeg, CVPR 2024, section 3.3; SAN, CVPR 2023).

Published: the bias of head h is w (q . F_h) + b, F_h = W_h z + c_h being the last layer of an MLP
over mask features, of heads x C channels at stride 4. Here that layer works on the queries' side,
q . F_h = (W_h^T q) . z + q . c_h, and so do w and b: the same numbers without that map.

Shapes: B images, Q queries, C channels, H heads of CLIP, h x w cells.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.layers.blocks import blocks
from stseg.modeling.layers.mlp import build_mlp


class AttentionBias(nn.Module):
    """Gives every head of CLIP a map per query, to be added to its attention."""

    def __init__(self, dim: int, num_heads: int, *, mask_dim: int | None = None):
        """Build the module.

        Args:
            dim: channels C of the mask embeddings.
            num_heads: heads H of CLIP.
            mask_dim: channels M of the mask features, C if not given.
        """
        super().__init__()
        mask_dim = mask_dim or dim
        self.num_heads = num_heads
        self.mlp = build_mlp(mask_dim, mask_dim, mask_dim, num_heads * dim)
        self.scaling = nn.Linear(1, 1)
        nn.init.ones_(self.scaling.weight)
        nn.init.zeros_(self.scaling.bias)

    def hidden(self, mask_features: Tensor) -> Tensor:
        """What all rounds share: z (B, h w, M) of mask features (B, M, h, w)."""
        return self.mlp[:-1](mask_features.flatten(2).transpose(1, 2))

    def forward(
        self,
        mask_embeds: Tensor,
        hidden: Tensor,
        size: tuple[int, int],
        pooled_size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Compute the bias.

        Args:
            mask_embeds: q (B, Q, C).
            hidden: z (B, h w, M), see `hidden`.
            size: (h, w).
            pooled_size: cells of CLIP, which the greatest value in each is for (adaptive max
                pooling); head by head, so that the whole is never held. None for no pooling.

        Returns:
            (B, H, Q, h, w), or pooled.
        """
        folded, constant = self._fold(mask_embeds)
        if pooled_size is None:
            return self._maps(folded, constant, hidden).unflatten(-1, size)
        floats = mask_embeds.shape[0] * mask_embeds.shape[1] * hidden.shape[1]
        parts = []
        for heads in blocks(self.num_heads, floats, hidden.device):
            maps = self._maps(folded[:, heads], constant[:, heads], hidden).unflatten(-1, size)
            pooled = F.adaptive_max_pool2d(maps.flatten(0, 1), pooled_size)
            parts.append(pooled.unflatten(0, maps.shape[:2]))
        return torch.cat(parts, dim=1)

    def _fold(self, mask_embeds: Tensor) -> tuple[Tensor, Tensor]:
        """Fold: w W_h^T q (B, H, Q, M), and w q . c_h + b (B, H, Q)."""
        scaled = mask_embeds * self.scaling.weight[0]
        weight = self.mlp[-1].weight.unflatten(0, (self.num_heads, -1))
        shift = self.mlp[-1].bias.unflatten(0, (self.num_heads, -1))
        folded = torch.einsum("bqc,hcm->bhqm", scaled, weight)
        return folded, torch.einsum("bqc,hc->bhq", scaled, shift) + self.scaling.bias

    @staticmethod
    def _maps(folded: Tensor, constant: Tensor, hidden: Tensor) -> Tensor:
        """(B, H, Q, h w); one product for all heads."""
        maps = torch.matmul(folded.flatten(1, 2), hidden.transpose(1, 2))
        return (maps + constant.flatten(1)[..., None]).unflatten(1, folded.shape[1:3])
