"""The text tower of CLIP-photo in training: few token rows of its own, the rest stock open_clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from stseg.modeling.encoders import add_mini_configs
from stseg.modeling.text import TextTower

MODEL_NAME = "efficientnet_lite2"
_LONGEST = 40  # tokens of a definition that are read
_AT_ONCE = 1000


class TokenRows(nn.Module):
    """A table of embeddings as the product of two thin matrices, with one row for rare tokens."""

    def __init__(self, count: int, ids: Tensor, rank: int, width: int):
        """Draw it.

        Args:
            count: tokens that there are.
            ids: (n,) int64, those with a row of their own.
            rank: of the product.
            width: of an embedding.
        """
        super().__init__()
        rows = torch.full((count,), len(ids))
        rows[ids] = torch.arange(len(ids))
        self.register_buffer("ids", ids)
        self.register_buffer("rows", rows, persistent=False)
        self.left = nn.Parameter(0.3 * torch.randn(len(ids) + 1, rank))
        self.right = nn.Parameter(0.1 * torch.randn(rank, width))

    @property
    def weight(self) -> Tensor:
        """Of whom type and device are asked."""
        return self.left

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeddings (..., width) of ids (...)."""
        return F.embedding(self.rows[tokens], self.left) @ self.right

    def in_short(self) -> dict[str, Any]:
        """The table as `stseg.checkpoint` fills it in, in float16."""
        return {
            "count": len(self.rows),
            "ids": self.ids.int(),
            "left": self.left.detach().half(),
            "right": self.right.detach().half(),
        }


class NounTower(nn.Module):
    """Texts to unit vectors in the space of the classes."""

    def __init__(self, ids: Tensor, rank: int):
        """Make a tower with start values.

        Args:
            ids: of the tokens that it learns one by one.
            rank: of their table.
        """
        super().__init__()
        add_mini_configs()
        clip = open_clip.create_model(MODEL_NAME)
        clip.visual = None
        width = clip.token_embedding.embedding_dim
        self.channels = clip.text_projection.shape[1]
        clip.token_embedding = TokenRows(clip.token_embedding.num_embeddings, ids, rank, width)
        self.tower = TextTower(clip)
        self.tokenizer = open_clip.get_tokenizer(MODEL_NAME)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Embed texts (N, C), of which the first tokens are read."""
        tokens = self.tokenizer(list(texts), context_length=_LONGEST)
        with sdpa_kernel(SDPBackend.MATH):
            return F.normalize(self.tower(tokens).float(), dim=-1)


@cache
def tokens_used(texts: tuple[str, ...], least: int) -> Tensor:
    """Ids, in order, of the tokens that texts hold at least so often; start and end are of them."""
    tokenizer = open_clip.get_tokenizer(MODEL_NAME)
    found: Counter[int] = Counter()
    for start in range(0, len(texts), _AT_ONCE):  # to clean a text costs more than to cut it up
        found.update(tokenizer.encode(" ".join(texts[start : start + _AT_ONCE])))
    kept = {token for token, count in found.items() if count >= least}
    return torch.tensor(sorted(kept | {tokenizer.sot_token_id, tokenizer.eot_token_id}))
