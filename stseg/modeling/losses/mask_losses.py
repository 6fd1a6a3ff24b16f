"""Binary cross entropy and dice of masks: of pairs as losses, of all with all as costs.

Shapes: Q predicted masks, T true ones, N pairs of both, P points, K classes. `known` says for each
point how much it counts, in [0, 1]: what is unknown has neither a loss nor a gradient, and where
nothing is known there is none at all. None counts all alike, as published. `weights` are factors on
the losses of pairs, (N,), None for 1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_TINY = torch.finfo(torch.float32).tiny


def bce_loss(
    logits: Tensor,
    targets: Tensor,
    normaliser: float,
    *,
    known: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy, mean over points, summed over masks (N, P) and divided."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    loss = loss.mean(1) if known is None else weighted_mean(loss, known)
    return _weighted_sum(loss, weights) / normaliser


def dice_loss(
    logits: Tensor,
    targets: Tensor,
    normaliser: float,
    *,
    known: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """1 - dice with 1 added on both sides of the fraction, summed over masks (N, P) and divided."""
    probs, targets = _where_known(known, logits.sigmoid(), targets)
    overlap = 2 * (probs * targets).sum(-1) + 1
    loss = 1 - overlap / (probs.sum(-1) + targets.sum(-1) + 1)
    return _weighted_sum(loss, weights) / normaliser


def bce_cost(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """`bce_loss` of every prediction (Q, P) with every truth (T, P), known (1, P): (Q, T)."""
    # softplus(x) - x t is the cross entropy; only the second term knows both.
    first, logits = _where_known(known, F.softplus(logits), logits)
    count = logits.shape[-1] if known is None else known.sum().clamp(min=_TINY)
    return (first.sum(-1, keepdim=True) - logits @ targets.T) / count


def dice_cost(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """`dice_loss` of every prediction (Q, P) with every truth (T, P), known (1, P): (Q, T)."""
    probs, targets = _where_known(known, logits.sigmoid(), targets)
    sizes = probs.sum(-1, keepdim=True) + targets.sum(-1)
    return 1 - (2 * probs @ targets.T + 1) / (sizes + 1)


def class_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the probability (softmax over (Q, K) logits) of each true class (T,): (Q, T)."""
    return -logits.softmax(-1)[:, labels]


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the last axis with weights of at least 0; 0, with a graph, where all are 0."""
    return (weights * values).sum(-1) / weights.sum(-1).clamp(min=_TINY)


def _weighted_sum(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.sum() if weights is None else (weights * values).sum()


def _where_known(known: Tensor | None, *values: Tensor) -> tuple[Tensor, ...]:
    return values if known is None else tuple(known * x for x in values)
