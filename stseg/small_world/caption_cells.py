"""Losses that teach single cells of a CLIP image map from captions alone.

A CLIP is asked for a name at every cell, so cells, not pooled pictures, are compared with texts.
Three facts of a caption that names what is visible are used:
every cell shows one of the named classes (learning from partial labels, Jin and Ghahramani, 2002);
every named class shows in some cells (multiple-instance learning); and, as in CLIP and with several
right answers as in GroupViT (CVPR 2022, section 3.2), an image and a phrase score high together
exactly if the caption says so.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cell_label_loss(cell_logits: Tensor, named: Tensor, top_share: float) -> tuple[Tensor, Tensor]:
    """Every cell is one of the named classes; every named class has some cells.

    Args:
        cell_logits: (B, N, T), scaled cosine of every cell with every class name.
        named: (B, T) bool, classes in the caption.
        top_share: share of the cells a named class must claim at least, (0, 1].

    Returns:
        Two scalars: mean over cells of -log P(one of the named), and mean over named classes of
        -log of the mean P over its best cells.
    """
    log_p = F.log_softmax(cell_logits.float(), dim=-1)
    outside = torch.where(named[:, None, :], 0.0, float("-inf"))
    some_name = -(log_p + outside).logsumexp(-1).mean()
    count = max(1, round(top_share * cell_logits.shape[1]))
    best = log_p.topk(count, dim=1).values.logsumexp(1) - torch.log(torch.tensor(float(count)))
    every_name = -(best * named).sum() / named.sum().clamp(min=1)
    return some_name, every_name


def matching_loss(scores: Tensor, true: Tensor, unknown: Tensor) -> Tensor:
    """Contrastive loss with several right answers, both ways.

    Args:
        scores: (B, P) image-text logits.
        true: (B, P) bool, pairs that belong together.
        unknown: (B, P) bool, pairs that take no part.

    Returns:
        Scalar, the mean of -log P(a right answer) over rows and columns that have one.
    """
    scores = scores.float().masked_fill(unknown, float("-inf"))
    right = scores.masked_fill(~true, float("-inf"))
    total = scores.new_zeros(())
    for dim in (0, 1):
        has = true.any(dim)
        loss = scores.logsumexp(dim) - right.logsumexp(dim)
        total = total + loss[has].mean() if has.any() else total
    return total / 2
