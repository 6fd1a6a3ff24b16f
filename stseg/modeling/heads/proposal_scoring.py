"""Mask proposals named by texts without a background embedding (our reading of CEL, TMM 2024).

A trained "no object" vector takes what has no labels in training, unseen classes among it. Here a
proposal is junk if it resembles no class that is asked for, or is unsure of its own mask. The
baseline, which has that vector, is a flag away. What a proposal shows is said by its own vector,
which labels have taught, and by frozen CLIP's cells in its mask, which know other classes as well:
a weighted geometric mean (FC-CLIP, NeurIPS 2023, section 3.3).

Shapes: B images, Q proposals, T classes, S names, E channels of class vectors, h x w cells.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check
from stseg.modeling.text import ClassEmbeddings, ClassifierWithRest


class ProposalScoring(nn.Module):
    """Cosines of proposals and classes, logits to train by, and shares to answer with.

    Attributes:
        bias: (), the cosine from which on a proposal shows a class.
        softness: how much above it makes sure.
    """

    def __init__(
        self,
        dim: int,
        *,
        temperature: float = 0.01,
        bias: float = 0.2,
        softness: float = 0.05,
        seen_offset: float = 0.0,
        background: bool = False,
        pooled: tuple[float, float] = (0.0, 0.0),
    ):
        """Build the module.

        Args:
            dim: E.
            temperature: of the softmax over classes, above 0.
            bias: first value of the attribute.
            softness: see the attribute, above 0.
            seen_offset: taken off cosines of classes that had labels in training, in evaluation.
            background: the baseline: a learnt vector beside the names, "no object".
            pooled: weights in [0, 1] of what frozen CLIP says, in evaluation: of a class that had
                labels in training, and of another.

        Raises:
            ValueError: if a value is out of its range.
        """
        super().__init__()
        self.temperature = check("MODEL.CEL.TEMPERATURE", temperature)
        self.softness = check("MODEL.CEL.SOFTNESS", softness)
        self.seen_offset = check("MODEL.CEL.SEEN_OFFSET", seen_offset)
        self.background = ClassifierWithRest(dim) if background else None
        seen_share, other_share = pooled
        self.pooled_shares = (
            check("MODEL.CEL.POOLED.SEEN", seen_share),
            check("MODEL.CEL.POOLED.OTHERS", other_share),
        )
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def cosines(self, embeds: Tensor, embeddings: ClassEmbeddings) -> Tensor:
        """Of proposals with classes; a class is as near as its nearest name.

        Args:
            embeds: (B, Q, E) of any length.
            embeddings: of T classes.

        Returns:
            (B, Q, T) float32 in [-1, 1]; with a background (B, Q, T + 1), its own last.
        """
        with torch.autocast(embeds.device.type, enabled=False):
            units = F.normalize(embeds.float(), dim=-1)
            if self.background is None:
                names = units @ embeddings.mean_over_templates().float().T
                return embeddings.of_best_names(names)
            names = units @ self.background(embeddings).float().T
            classes = embeddings.of_best_names(names[..., :-1])
            return torch.cat([classes, names[..., -1:]], dim=-1)

    def pooled_cosines(self, pooled: Tensor, embeddings: ClassEmbeddings) -> Tensor:
        """Of frozen CLIP's cells in each mask with classes.

        Args:
            pooled: (B, Q, E), means of unit vectors, as short as the cells are unlike.
            embeddings: of T classes.

        Returns:
            (B, Q, T) float32 in [-1, 1].
        """
        with torch.autocast(pooled.device.type, enabled=False):
            names = pooled.float() @ embeddings.mean_over_templates().float().T
            return embeddings.of_best_names(names)

    def shares(
        self,
        cosines: Tensor,
        mask_logits: Tensor,
        seen: Tensor | None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        """How much of each class is in a proposal's mask.

        Args:
            cosines: of `cosines`.
            mask_logits: (B, Q, h, w).
            seen: (T,) bool; None takes no class for seen.
            pooled: of `pooled_cosines`; None leaves frozen CLIP out.

        Returns:
            (B, Q, T) float32 in [0, 1]; a proposal's sum is how likely it is no junk.
        """
        count = cosines.shape[-1] - (self.background is not None)
        marks = torch.zeros(count, dtype=torch.bool) if seen is None else seen
        marks = marks.to(cosines.device)
        off = self.seen_offset * marks.float()
        logits = (cosines - F.pad(off, (0, cosines.shape[-1] - count))) / self.temperature
        names = logits[..., :count].log_softmax(-1)
        if pooled is not None:
            of_seen, of_others = self.pooled_shares
            weight = marks.float() * (of_seen - of_others) + of_others
            opinion = ((pooled - off) / self.temperature).log_softmax(-1)
            names = ((1 - weight) * names + weight * opinion).log_softmax(-1)
        if self.background is not None:
            return names.exp() * (1 - logits.softmax(-1)[..., -1:])
        resembles = ((cosines - off - self.bias) / self.softness).amax(-1, keepdim=True).sigmoid()
        return names.exp() * resembles * _sureness(mask_logits)[..., None]


def _sureness(mask_logits: Tensor) -> Tensor:
    """(B, Q) mean probability inside each mask, in [0.5, 1]; 0 for a mask that is nowhere."""
    probs = mask_logits.float().sigmoid().flatten(2)
    inside = probs > 0.5
    return (probs * inside).sum(-1) / inside.sum(-1).clamp(min=1)
