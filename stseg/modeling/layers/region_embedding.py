"""What a query's region looks like, in the space of class vectors (EBSeg, CVPR 2024, section 3.3).

The mean of the map inside the mask joins the query, as in FC-CLIP (Yu et al., NeurIPS 2023).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.layers.mask_pooling import pool_in_masks
from stseg.modeling.layers.mlp import build_mlp

#: Bound of the learnt length: min(s, 10) as published.
MAX_SCALE = 10.0


class RegionEmbedding(nn.Module):
    """Embeds queries; all embeddings have one length, which is learnt.

    Attributes:
        scale: the length s before it is bounded.
    """

    def __init__(self, dim: int, class_dim: int, *, mask_dim: int | None = None):
        """Build the module.

        Args:
            dim: channels C of the queries.
            class_dim: channels E of class vectors.
            mask_dim: channels M of the mask features, C if not given.
        """
        super().__init__()
        mask_dim = mask_dim or dim
        self.pool_proj = nn.Sequential(nn.LayerNorm(mask_dim), nn.Linear(mask_dim, dim))
        self.mlp = build_mlp(dim, dim, dim, class_dim)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, queries: Tensor, mask_features: Tensor, mask_logits: Tensor) -> Tensor:
        """Embed queries with what lies in their masks.

        Args:
            queries: (B, Q, C).
            mask_features: (B, M, h, w).
            mask_logits: (B, Q, h, w); a cell is inside above 0. They get no gradient.

        Returns:
            (B, Q, E) of length min(s, 10).
        """
        pooled = pool_in_masks(mask_features, mask_logits > 0)
        embeds = self.mlp(queries + self.pool_proj(pooled))
        return self.scale.clamp(max=MAX_SCALE) * F.normalize(embeds, dim=-1)
