"""CLIP's residual attention block in parts, for who orders its work otherwise than open_clip does.

The modules and their weights are open_clip's own. Shapes: B sequences, L tokens, C channels,
d channels of a head.
"""

from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F


def is_plain_block(block: nn.Module) -> bool:
    """Whether a block is CLIP's own, with weights where the functions here look for them."""
    if type(block) is not ResidualAttentionBlock or hasattr(block, "ln_1_kv"):
        return False
    attn = block.attn
    usual = type(attn) is nn.MultiheadAttention and attn.in_proj_weight is not None
    return usual and attn.bias_k is None and attn.bias_v is None and not attn.add_zero_attn


def project_heads(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of tokens.

    Args:
        block: plain, see `is_plain_block`.
        x: (B, L, C), the residual stream at the block's input.

    Returns:
        Three of (B, heads, L, d).
    """
    attn = block.attn
    qkv = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = qkv.unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return q, k, v


def join_heads(seen: Tensor) -> Tensor:
    """(B, heads, L, d) to (B, L, C)."""
    return seen.transpose(1, 2).flatten(2)


def add_attention(block: nn.Module, x: Tensor, seen: Tensor) -> Tensor:
    """The residual stream after attention; `x` and what was seen are (..., C)."""
    return x + block.ls_1(block.attn.out_proj(seen))


def finish_block(block: nn.Module, x: Tensor, seen: Tensor) -> Tensor:
    """The residual stream after attention and MLP; `x` and what was seen are (..., C)."""
    x = add_attention(block, x, seen)
    return x + block.ls_2(block.mlp(block.ln_2(x)))
