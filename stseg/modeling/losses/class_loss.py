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

    Where pixels count unequally, a pair counts as its mask does, see `MaskTargets.mask_weights`.

    Returns:
        Scalar; 0 if no query has anything to learn.
    """
    paired = [t.labels[m.targets] for t, m in zip(targets, matches, strict=True)]
    of_pair = pair_weights(targets, matches)
    if no_object_weight is None:
        logits = torch.cat([x[m.queries] for x, m in zip(logits, matches, strict=True)])
        labels = torch.cat(paired)
        if not len(logits):
            return logits.sum()
        if class_weights is None and of_pair is None:
            return F.cross_entropy(logits, labels)
        loss = F.cross_entropy(logits, labels, reduction="none")
        weights = 1.0 if class_weights is None else class_weights[labels]
        return weighted_mean(loss, weights if of_pair is None else weights * of_pair)
    no_object = logits.shape[-1] - 1
    labels = torch.full(logits.shape[:2], no_object, device=logits.device)
    for row, match, ids in zip(labels, matches, paired, strict=True):
        row[match.queries] = ids
    columns = logits.new_ones(no_object) if class_weights is None else class_weights
    columns = torch.cat([columns, columns.new_tensor([no_object_weight])])
    logits = logits.transpose(1, 2)
    if class_weights is None and shares is None and of_pair is None:
        return F.cross_entropy(logits, labels, columns)
    of_query = columns[labels]
    if of_pair is not None:
        parts = of_pair.split([len(ids) for ids in paired])
        for row, match, part in zip(of_query, matches, parts, strict=True):
            row[match.queries] *= part
    if shares is not None:
        of_query = torch.where(labels == no_object, of_query * shares, of_query)
    loss = F.cross_entropy(logits, labels, reduction="none")
    return weighted_mean(loss.flatten(), of_query.flatten())


def pair_weights(targets: Sequence[MaskTargets], matches: Sequence[Match]) -> Tensor | None:
    """How much the mask of each pair counts: (N,) float32, N pairs of all images; None for 1."""
    weights = [target.mask_weights() for target in targets]
    if all(x is None for x in weights):
        return None
    return torch.cat(
        [
            torch.ones_like(m.targets, dtype=torch.float32) if x is None else x[m.targets]
            for x, m in zip(weights, matches, strict=True)
        ]
    )


def known_shares(mask_logits: Tensor, targets: Sequence[MaskTargets]) -> Tensor | None:
    """Which part of each query's mask lies where a label says anything, by how much that counts.

    Args:
        mask_logits: (B, Q, h, w) of any float type; they get no gradient.
        targets: one per image, of any sizes.

    Returns:
        (B, Q) float32 in [0, 1], 0 for a mask that is nowhere; None where all is known and counts.
    """
    counted = [target.counted() for target in targets]
    if all(x is None for x in counted):
        return None
    masks = mask_logits.detach().float().sigmoid()
    return torch.stack([_known_share(x, y) for x, y in zip(masks, counted, strict=True)])


def _known_share(masks: Tensor, known: Tensor | None) -> Tensor:
    """(Q,) of masks (Q, h, w)."""
    if known is None:
        return masks.new_ones(len(masks))
    cells = F.interpolate(known.float()[None, None], masks.shape[-2:], mode="area")
    return weighted_mean(cells.flatten(), masks.flatten(1))
