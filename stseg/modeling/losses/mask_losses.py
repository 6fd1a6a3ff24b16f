"""Binary cross entropy and dice of masks: of pairs as losses, of all with all as costs.

Shapes: Q predicted masks, T true ones, N pairs of both, P points, K classes. `known` says for each
point how much it counts, in [0, 1]: what is unknown has neither a loss nor a gradient, and where
nothing is known there is none at all. None counts all alike, as published. `sure`, (N, P), says how
much what is known counts, likewise. `weights` are factors on the losses of pairs, (N,), None for 1.
"""

import math

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
    sure: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy, mean over points, summed over masks (N, P) and divided."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    counted = [x for x in (known, sure) if x is not None]
    loss = weighted_mean(loss, math.prod(counted)) if counted else loss.mean(1)
    return _weighted_sum(loss, weights) / normaliser


def dice_loss(
    logits: Tensor,
    targets: Tensor,
    normaliser: float,
    *,
    known: Tensor | None = None,
    sure: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """1 - dice with 1 added on both sides of the fraction, summed over masks (N, P) and divided."""
    probs, targets = _where_known(known, logits.sigmoid(), targets)
    overlap, *sizes = (
        x.sum(-1) if sure is None else (sure * x).sum(-1) for x in (probs * targets, probs, targets)
    )
    loss = 1 - (2 * overlap + 1) / (sizes[0] + sizes[1] + 1)
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
