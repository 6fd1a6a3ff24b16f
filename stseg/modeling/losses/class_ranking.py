"""Losses that rank the classes of a proposal as their names are near, a reading of CEL.

See `stseg.modeling.losses.class_enhancement` for what is CEL's and what is ours.

Shapes: C classes, E channels of class vectors, N matched pairs of a batch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.config import check
from stseg.modeling.losses.mask_losses import weighted_mean
from stseg.modeling.losses.proposal_scores import (
    ENHANCEMENT_LOSS_REGISTRY,
    ProposalScores,
    exactly,
)
from stseg.modeling.losses.set_criterion import mean_count

#: Length below which a centred vector of unit vectors is rounding, and has no direction.
_NO_DIRECTION = 1e-4


def centred_cosines(vectors: Tensor) -> Tensor:
    """Cosines of class vectors after their mean is taken off.

    Names of things lie close together in a text tower: what they share says nothing about which of
    two classes is nearer to a third.

    Args:
        vectors: (C, E), unit length.

    Returns:
        (C, C) in [-1, 1]; about 0 for a class at the mean, so for one class, or equal names only.
    """
    centred = F.normalize(vectors - vectors.mean(0), dim=-1, eps=_NO_DIRECTION)
    return centred @ centred.T


@ENHANCEMENT_LOSS_REGISTRY.register()
class ListRanking:
    """A matched proposal is as near to all classes as the name of its own is.

    The Kullback-Leibler divergence of softmax(cosines) from softmax(centred cosines of names). Sum
    over pairs, divided by the mean over processes of their number, at least 1: processes together
    have the gradient of one with all their images.
    """

    def __init__(self, *, temperature: float = 0.05):
        """Set the temperature of both distributions, above 0."""
        self.temperature = check("MODEL.CEL.LOSSES.RANK_TEMPERATURE", temperature)

    def __call__(self, scores: ProposalScores) -> Tensor:
        """Scalar, 0 without pairs."""
        with exactly(scores) as s:
            rows, labels = s.matched()
            wanted = (centred_cosines(s.vectors)[labels] / self.temperature).log_softmax(-1)
            found = (rows / self.temperature).log_softmax(-1)
            loss = F.kl_div(found, wanted, reduction="sum", log_target=True)
            return loss / mean_count(len(labels))


@ENHANCEMENT_LOSS_REGISTRY.register()
class PairRanking:
    """A matched proposal is clearly nearer to one class than to another where its name is.

    Asked of any two among the pair's class and the classes nearest to it, of which one is nearer by
    more than `gap`: the proposal's cosines must differ by `share` of that. What they lack is
    averaged over the two-class demands of a pair, summed over pairs, and divided as in
    `ListRanking`. Centred cosines differ more than cosines can where names are much alike, so some
    demands may never be met.
    """

    def __init__(self, *, neighbours: int = 8, gap: float = 0.02, share: float = 0.5):
        """Set what is demanded.

        Args:
            neighbours: classes beside the pair's own that take part, at least 1; all if there are
                fewer.
            gap: difference of two centred cosines of names, at least 0, above which their order
                counts.
            share: of that difference, in [0, 1]; 0 demands the order alone.
        """
        self.neighbours = int(check("MODEL.CEL.LOSSES.RANK_NEIGHBOURS", neighbours))
        self.gap = check("MODEL.CEL.LOSSES.RANK_GAP", gap)
        self.share = check("MODEL.CEL.LOSSES.RANK_SHARE", share)

    def __call__(self, scores: ProposalScores) -> Tensor:
        """Scalar, 0 without pairs, and where no two names differ enough."""
        with exactly(scores) as s:
            rows, labels = s.matched()
            names = centred_cosines(s.vectors)[labels]
            chosen = self._nearest(names, labels)
            gaps = _differences(names.gather(1, chosen))
            lacking = (self.share * gaps - _differences(rows.gather(1, chosen))).relu()
            demanded = (gaps > self.gap).to(lacking.dtype)
            loss = weighted_mean(lacking.flatten(1), demanded.flatten(1)).sum()
            return loss / mean_count(len(labels))

    def _nearest(self, names: Tensor, labels: Tensor) -> Tensor:
        """Ids (N, k) of each pair's own class and those nearest to it, of cosines (N, C)."""
        own_first = names.scatter(1, labels[:, None], torch.inf)
        return own_first.topk(min(self.neighbours + 1, names.shape[1])).indices


def _differences(values: Tensor) -> Tensor:
    """(N, k, k) of (N, k): the one less the other."""
    return values[:, :, None] - values[:, None]
