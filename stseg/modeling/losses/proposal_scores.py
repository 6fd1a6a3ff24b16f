"""What class enhancement losses know of a batch, and what such a loss is.

Shapes: B images, Q queries, C classes, E channels of class vectors, N matched pairs of a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from detectron2.utils.registry import Registry
from torch import Tensor

from stseg.modeling.losses.mask_targets import MaskTargets
from stseg.modeling.losses.matcher import Match


class ProposalScores(NamedTuple):
    """How near the proposals of the last round are to the classes, and what they should be.

    Attributes:
        cosines: (B, Q, C) of query embeddings and class vectors, of any float type.
        matches: pairs of each image.
        targets: of each image, which `matches` points into.
        known: (B, Q) in [0, 1], share of each query's mask that lies on labelled pixels, see
            `known_shares`. None for 1.
        vectors: (C, E) of classes, unit length; what is learnt from them gives them no gradient.
        present: (B, C) bool, which classes an image surely shows.
        absent: (B, C) bool, which it surely does not. A class may be neither, never both.
        bias: scalar, the cosine at which a proposal speaks for a class as likely as not; learnt.
        softness: change of a cosine, above 0, that counts as one unit of a logit.
    """

    cosines: Tensor
    matches: Sequence[Match]
    targets: Sequence[MaskTargets]
    known: Tensor | None
    vectors: Tensor
    present: Tensor
    absent: Tensor
    bias: Tensor
    softness: float

    def matched(self) -> tuple[Tensor, Tensor]:
        """Cosines (N, C) of the queries of all pairs, and the pairs' class ids (N,)."""
        rows = [x[m.queries] for x, m in zip(self.cosines, self.matches, strict=True)]
        ids = [t.labels[m.targets] for t, m in zip(self.targets, self.matches, strict=True)]
        return torch.cat(rows), torch.cat(ids)

    def unmatched(self) -> Tensor:
        """(B, Q) bool, which queries have no pair."""
        free = torch.ones(self.cosines.shape[:2], dtype=torch.bool, device=self.cosines.device)
        for row, match in zip(free, self.matches, strict=True):
            row[match.queries] = False
        return free


EnhancementLoss = Callable[[ProposalScores], Tensor]

ENHANCEMENT_LOSS_REGISTRY = Registry("ENHANCEMENT_LOSS")
ENHANCEMENT_LOSS_REGISTRY.__doc__ = """
Registry of losses on `ProposalScores`; `build_enhancements` makes ours as a config says.

An entry is made with keyword arguments. What it makes is called with the scores of a batch, on
every process of a run, and must return a scalar: float32, or float64 for cosines of float64. Where
there is nothing to learn it is 0 with a graph to the scores, and to the bias if it asks for that:
DistributedDataParallel waits for a gradient of every parameter.
"""


@contextmanager
def exactly(scores: ProposalScores) -> Iterator[ProposalScores]:
    """Scores in float32, or float64 where cosines are, while autocast is off."""
    dtype = torch.promote_types(scores.cosines.dtype, torch.float32)
    with torch.autocast(scores.cosines.device.type, enabled=False):
        yield scores._replace(
            cosines=scores.cosines.to(dtype),
            known=None if scores.known is None else scores.known.to(dtype),
            vectors=scores.vectors.detach().to(dtype),
            bias=scores.bias.to(dtype),
        )
