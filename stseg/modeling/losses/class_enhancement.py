"""Class enhancement losses: our reading of CEL, not its formulas.

Of "Class Enhancement Losses with Pseudo Labels for Open-Vocabulary Semantic Segmentation" (Dao et
al., IEEE TMM 2024, arXiv 2301.07336) only the abstract was at hand, and no code is public. It says
that a trained background embedding takes unseen classes for background, that the losses bypass it
in training, and that they use how words and mask proposals are related by ranking similarity
scores. What follows keeps to that; everything more exact is ours. No column is background; some
proposal must answer for a class that is present, none for one that is absent; the ranking is in
`stseg.modeling.losses.class_ranking`.

Shapes: B images, Q queries, C classes, N matched pairs of a batch.
"""

import math

from detectron2.config import CfgNode
from torch import Tensor
from torch.nn import functional as F

from stseg.modeling.losses.class_ranking import ListRanking, PairRanking
from stseg.modeling.losses.mask_losses import weighted_mean
from stseg.modeling.losses.proposal_scores import (
    ENHANCEMENT_LOSS_REGISTRY,
    EnhancementLoss,
    ProposalScores,
    exactly,
)


@ENHANCEMENT_LOSS_REGISTRY.register()
class ClassPresence:
    """Some proposal answers for each class that is present, and none for one that is absent.

    A soft maximum over proposals, a mean of exponentials, says whether an image has a class. Binary
    cross entropy, mean over present classes plus mean over absent ones, then mean over images:
    processes with equally many images may average their gradients.
    """

    def __call__(self, scores: ProposalScores) -> Tensor:
        """Scalar; an image of which nothing is known counts as 0."""
        with exactly(scores) as s:
            logits = (s.cosines - s.bias) / s.softness
            logits = logits.logsumexp(1) - math.log(logits.shape[1])
            present = weighted_mean(F.softplus(-logits), s.present.to(logits.dtype))
            absent = weighted_mean(F.softplus(logits), s.absent.to(logits.dtype))
            return (present + absent).mean()


@ENHANCEMENT_LOSS_REGISTRY.register()
class AbsentPushOff:
    """A proposal without a pair is none of the absent classes.

    Nothing is said of present classes, since two proposals may share a mask, nor of a proposal
    where nothing is labelled, since it may show an unseen class: each counts with its known share.
    Mean over proposals and classes of an image, then over images, as in `ClassPresence`.
    """

    def __call__(self, scores: ProposalScores) -> Tensor:
        """Scalar; an image without such proposals, or without absent classes, counts as 0."""
        with exactly(scores) as s:
            losses = F.softplus((s.cosines - s.bias) / s.softness)
            of_query = s.unmatched().to(losses.dtype)
            if s.known is not None:
                of_query = of_query * s.known
            weights = of_query[:, :, None] * s.absent[:, None].to(losses.dtype)
            return weighted_mean(losses.flatten(1), weights.flatten(1)).mean()


def build_enhancements(cfg: CfgNode) -> dict[str, tuple[float, EnhancementLoss]]:
    """Weight and loss by name, of `MODEL.CEL.LOSSES` with a weight above 0.

    But for that of matched proposals, which the set criterion has in every round.
    """
    own = cfg.MODEL.CEL.LOSSES
    rank_pairs = PairRanking(neighbours=own.RANK_NEIGHBOURS, gap=own.RANK_GAP, share=own.RANK_SHARE)
    built: dict[str, tuple[float, EnhancementLoss]] = {
        "loss_presence": (own.PRESENCE_WEIGHT, ClassPresence()),
        "loss_absent": (own.ABSENT_WEIGHT, AbsentPushOff()),
        "loss_rank_list": (
            own.RANK_LIST_WEIGHT,
            ListRanking(temperature=own.RANK_TEMPERATURE),
        ),
        "loss_rank_pairs": (own.RANK_PAIRS_WEIGHT, rank_pairs),
    }
    return {name: (weight, loss) for name, (weight, loss) in built.items() if weight > 0}
