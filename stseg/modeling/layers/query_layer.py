"""A layer of a decoder with queries (Cheng et al., Mask2Former, CVPR 2022, section 3.2.1).

Shapes: B images, Q queries, S cells of the map that is looked at, C channels, H heads.
"""

from torch import Tensor, nn


class QueryLayer(nn.Module):
    """Queries look at the cells of their masks, then at each other; post-norm, no dropout."""

    def __init__(self, dim: int = 256, *, num_heads: int = 8, ffn_dim: int = 2048):
        """Build the layer.

        Args:
            dim: channels C.
            num_heads: attention heads, a divisor of C.
            ffn_dim: hidden width of the feed-forward part.
        """
        super().__init__()
        self.cross_attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.self_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.ReLU(), nn.Linear(ffn_dim, dim))
        self.ffn_norm = nn.LayerNorm(dim)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, x: Tensor, position: Tensor, keys: Tensor, values: Tensor, hidden: Tensor
    ) -> Tensor:
        """Update the queries.

        Args:
            x: (B, Q, C).
            position: (Q, C), added to queries where they ask or are asked.
            keys: (B, S, C), cells with their position.
            values: (B, S, C), cells without.
            hidden: (B, Q, S) bool, cells that a query must not see, never all of them.

        Returns:
            (B, Q, C).
        """
        masked = hidden.repeat_interleave(self.cross_attention.num_heads, dim=0)
        found = self.cross_attention(
            x + position, keys, values, attn_mask=masked, need_weights=False
        )[0]
        x = self.cross_norm(x + found)
        placed = x + position
        x = self.self_norm(x + self.self_attention(placed, placed, x, need_weights=False)[0])
        return self.ffn_norm(x + self.ffn(x))
