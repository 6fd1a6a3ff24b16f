"""Probabilities told as logits, which is what score maps are made of."""

import torch
from torch import Tensor

#: Greatest logarithm of a probability that a logit can be told of in float32.
_MOST = -1e-7


def log_odds(log_probs: Tensor) -> Tensor:
    """Logits whose sigmoid is a probability.

    Args:
        log_probs: its logarithm, of any shape, at most 0; -inf stays -inf, 0 becomes about 16.
    """
    log_probs = log_probs.clamp(max=_MOST)
    return log_probs - torch.log(-torch.expm1(log_probs))
