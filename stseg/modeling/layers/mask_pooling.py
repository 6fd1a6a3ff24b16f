"""Mean of a map inside masks."""

import torch
from torch import Tensor


def pool_in_masks(features: Tensor, inside: Tensor) -> Tensor:
    """Mean feature of the cells of each mask, as published: an empty mask gives zeros.

    Args:
        features: (B, C, h, w).
        inside: (B, Q, h, w) bool.

    Returns:
        (B, Q, C), at least float32.
    """
    weights = inside.flatten(2).to(features.dtype)
    total = torch.matmul(weights, features.flatten(2).transpose(1, 2)).float()
    return total / (inside.flatten(2).sum(-1, keepdim=True) + 1e-8)
