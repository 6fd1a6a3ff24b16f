"""CLIP's text tower, run over distinct beginnings of prompts instead of over padded prompts.

The modules are open_clip's own; only the order of work is ours, and exact up to rounding:

- a beginning that prompts share goes through every layer once (see `prefix`), and nothing is
  computed for padding;
- in the last layer only the end token is looked at, so only it has a query, an MLP and a
  projection.
"""

from functools import cached_property

import open_clip
import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.layers import finish_block, is_plain_block
from stseg.modeling.text.prefix import PrefixTree, lexicographic_order


class TextTower(nn.Module):
    """`clip.encode_text` as a module, faster where the tower is the usual one."""

    def __init__(self, clip: nn.Module):
        """Wrap an open_clip model."""
        super().__init__()
        self.clip = clip

    @cached_property
    def shares_prefixes(self) -> bool:
        """Whether prompts go as a tree; looked at when first needed, as a mask may be on "meta"."""
        return is_plain(self.clip)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed prompts.

        Args:
            tokens: (N, context) int64, anywhere; where prompts go as a tree, each ends at its
                highest id, and sorted ones share most, see `lexicographic_order`.

        Returns:
            (N, C), not normalised.
        """
        device = next(self.parameters()).device
        if not self.shares_prefixes:
            return self.clip.encode_text(tokens.to(device))
        text = _text_of(self.clip)
        tree = PrefixTree.grow(tokens.cpu(), device)
        dtype = text.transformer.get_cast_dtype()
        x = text.token_embedding(tree.tokens).to(dtype)
        x = x + text.positional_embedding[tree.positions].to(dtype)
        *blocks, last = text.transformer.resblocks
        for block in blocks:
            x = _run(block, x, tree)
        x = text.ln_final(_run_at_ends(last, x, tree))
        if isinstance(text.text_projection, nn.Linear):
            return text.text_projection(x)
        return x if text.text_projection is None else x @ text.text_projection

    def in_chunks(self, tokens: Tensor, size: int) -> Tensor:
        """Embed prompts, `size` of them in one pass; those that begin alike go together.

        Args:
            tokens: (N, context) int64 on the CPU.
            size: at least 1.

        Returns:
            (N, C) in the order given, not normalised.
        """
        order = lexicographic_order(tokens)
        embeds = torch.cat([self(tokens[rows]) for rows in order.split(size)])
        return embeds[order.argsort().to(embeds.device)]


def is_plain(clip: nn.Module) -> bool:
    """Whether the tower is built as `TextTower` takes it: causal, of CLIP's own blocks."""
    text = _text_of(clip)
    if type(text) not in (open_clip.CLIP, TextTransformer):
        return False
    pooling = getattr(text, "text_pool_type", getattr(text, "pool_type", ""))
    if pooling != "argmax" or getattr(text, "cls_emb", None) is not None:
        return False
    mask = text.attn_mask
    if mask is None or not torch.equal(mask, torch.full_like(mask, -torch.inf).triu(1)):
        return False
    return all(is_plain_block(block) for block in text.transformer.resblocks)


def _text_of(clip: nn.Module) -> nn.Module:
    """The module that holds the parts of the text tower, under the same names in both."""
    return clip.text if type(clip) is open_clip.CustomTextCLIP else clip


def _run(block: nn.Module, x: Tensor, tree: PrefixTree) -> Tensor:
    """A block over all nodes, (M, C) in and out."""
    attn = block.attn
    qkv = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    seen = tree.attend(*qkv.chunk(3, dim=-1), attn.num_heads)
    return finish_block(block, x, seen)


def _run_at_ends(block: nn.Module, x: Tensor, tree: PrefixTree) -> Tensor:
    """A block of whose output only the end tokens are wanted, (M, C) in and (N, C) out."""
    attn, width = block.attn, x.shape[-1]
    weight, bias = attn.in_proj_weight, attn.in_proj_bias
    y = block.ln_1(x)
    query = F.linear(y[tree.ends], weight[:width], None if bias is None else bias[:width])
    kv = F.linear(y, weight[width:], None if bias is None else bias[width:])
    seen = tree.attend_at_ends(query, *kv.chunk(2, dim=-1), attn.num_heads)
    return finish_block(block, x[tree.ends], seen)
