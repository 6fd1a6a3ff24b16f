"""Cross entropy of queries with the class of their pair (Carion et al., DETR, ECCV 2020).

Shapes: B images, Q queries, K columns of class logits, of which the last may be no object.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.modeling.losses.mask_losses import weighted_mean
from stseg.modeling.losses.mask_targets import MaskTargets
from stseg.modeling.losses.matcher import Match


def class_loss(
    logits: Tensor,
    targets: Sequence[MaskTargets],
    matches: Sequence[Match],
    no_object_weight: float | None,
    *,
    class_weights: Tensor | None = None,
    shares: Tensor | None = None,
) -> Tensor:
    """Cross entropy of queries with the class of their pair, a weighted mean.

    Args:
        logits: (B, Q, K).
        targets: one per image.
        matches: their pairs.
        no_object_weight: of queries without a pair, see `SetCriterion`.
        class_weights: of at least 0, (K,), or (K - 1,) where the last column is no object; None for
            1.
        shares: (B, Q) in [0, 1], factor on the weight of queries without a pair, see
            `known_shares`. None for 1.

    Returns:
        Scalar; 0 if no query has anything to learn.
    """
    paired = [t.labels[m.targets] for t, m in zip(targets, matches, strict=True)]
    if no_object_weight is None:
        logits = torch.cat([x[m.queries] for x, m in zip(logits, matches, strict=True)])
        labels = torch.cat(paired)
        if not len(logits):
            return logits.sum()
        if class_weights is None:
            return F.cross_entropy(logits, labels)
        loss = F.cross_entropy(logits, labels, reduction="none")
        return weighted_mean(loss, class_weights[labels])
    no_object = logits.shape[-1] - 1
    labels = torch.full(logits.shape[:2], no_object, device=logits.device)
    for row, match, ids in zip(labels, matches, paired, strict=True):
        row[match.queries] = ids
    columns = logits.new_ones(no_object) if class_weights is None else class_weights
    columns = torch.cat([columns, columns.new_tensor([no_object_weight])])
    logits = logits.transpose(1, 2)
    if class_weights is None and shares is None:
        return F.cross_entropy(logits, labels, columns)
    of_query = columns[labels]
    if shares is not None:
        of_query = torch.where(labels == no_object, of_query * shares, of_query)
    loss = F.cross_entropy(logits, labels, reduction="none")
    return weighted_mean(loss.flatten(), of_query.flatten())


def known_shares(mask_logits: Tensor, targets: Sequence[MaskTargets]) -> Tensor | None:
    """Which part of each query's mask lies where a label says anything.

    Args:
        mask_logits: (B, Q, h, w) of any float type; they get no gradient.
        targets: one per image, of any sizes.

    Returns:
        (B, Q) float32 in [0, 1], 0 for a mask that is nowhere; None where all is known.
    """
    if all(target.known is None for target in targets):
        return None
    masks = mask_logits.detach().float().sigmoid()
    pairs = zip(masks, targets, strict=True)
    return torch.stack([_known_share(x, target.known) for x, target in pairs])


def _known_share(masks: Tensor, known: Tensor | None) -> Tensor:
    """(Q,) of masks (Q, h, w)."""
    if known is None:
        return masks.new_ones(len(masks))
    cells = F.interpolate(known.float()[None, None], masks.shape[-2:], mode="area")
    return weighted_mean(cells.flatten(), masks.flatten(1))
