"""Queries asked in the published way: in front of all tokens, under one square matrix of biases."""

import torch
from torch.nn import functional as F

from stseg.modeling.encoders.query_attention import pool_bias


def bias_matrix(bias, heads):
    """(B, heads or 1, Q, h, w) to (B, heads, S, S), S = queries, class token, patches."""
    batch, _, queries = bias.shape[:3]
    patches = bias.flatten(3).expand(-1, heads, -1, -1)
    size = queries + 1 + patches.shape[-1]
    matrix = torch.zeros(batch, heads, size, size)
    matrix[..., :, :queries] = -100
    matrix[..., :queries, queries] = -100
    matrix[..., range(queries), range(queries)] = 0
    matrix[..., :queries, queries + 1 :] = patches
    return matrix


def ask_as_published(encoder, images, bias):
    """What `SplitViT.ask` gives, by open_clip's own blocks over S tokens."""
    streams, grid, _ = encoder.run_lower(images, dense=False)
    queries = bias.shape[2]
    matrix = bias_matrix(pool_bias(bias, grid), encoder.num_heads).flatten(0, 1)
    tokens = torch.cat([streams.tokens[:, :1].expand(-1, queries, -1), streams.tokens], 1)
    for block in encoder.visual.transformer.resblocks[encoder.lower_depth :]:
        tokens = block(tokens, attn_mask=matrix)
    seen = encoder.visual.ln_post(tokens[:, :queries]) @ encoder.visual.proj
    return F.normalize(seen, dim=-1)
