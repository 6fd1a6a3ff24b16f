"""Binary cross entropy and dice of masks: of pairs as losses, of all with all as costs.

Shapes: Q predicted masks, T true ones, N pairs of both, P points, K classes.
"""

from torch import Tensor
from torch.nn import functional as F


def bce_loss(logits: Tensor, targets: Tensor, normaliser: float) -> Tensor:
    """Binary cross entropy, mean over points, summed over masks (N, P) and divided."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return loss.mean(1).sum() / normaliser


def dice_loss(logits: Tensor, targets: Tensor, normaliser: float) -> Tensor:
    """1 - dice with 1 added on both sides of the fraction, summed over masks (N, P) and divided."""
    probs = logits.sigmoid()
    overlap = 2 * (probs * targets).sum(-1) + 1
    return (1 - overlap / (probs.sum(-1) + targets.sum(-1) + 1)).sum() / normaliser


def bce_cost(logits: Tensor, targets: Tensor) -> Tensor:
    """`bce_loss` of every prediction (Q, P) with every truth (T, P): (Q, T)."""
    # softplus(x) - x t is the cross entropy; only the second term knows both.
    return (F.softplus(logits).sum(-1, keepdim=True) - logits @ targets.T) / logits.shape[-1]


def dice_cost(logits: Tensor, targets: Tensor) -> Tensor:
    """`dice_loss` of every prediction (Q, P) with every truth (T, P): (Q, T)."""
    probs = logits.sigmoid()
    sizes = probs.sum(-1, keepdim=True) + targets.sum(-1)
    return 1 - (2 * probs @ targets.T + 1) / (sizes + 1)


def class_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the probability (softmax over (Q, K) logits) of each true class (T,): (Q, T)."""
    return -logits.softmax(-1)[:, labels]
