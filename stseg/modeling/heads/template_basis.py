"""An approximation of the cost volume: fewer channels than templates. Evaluation only.

The templates of a name embed much alike. So the (P, C) matrix E of a class is nearly U V, with U
(P, r) of orthonormal columns and V = U^T E, at a rank r far below P: among all matrices of rank r
the nearest in the sum of squares (Eckart and Young, 1936), which misses what E has of the other
P - r directions. The class's cost volume is then V times the image features, r channels in place of
P, and what reads it reads through weights that are folded with U.

Shapes: T classes, n of them in a chunk, P templates, r rank, C channels of the embedding, h and w
cells.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.heads.cost_volume import CostVolume

_CLASSES_AT_ONCE = 64
logger = logging.getLogger(__name__)


def check_rank(rank: int, num_prompts: int, attention: str) -> None:
    """Refuse what `MODEL.SEM_SEG_HEAD.TEMPLATE_RANK` cannot be."""
    if not 0 <= rank <= num_prompts:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.TEMPLATE_RANK: expected 1 to {num_prompts} "
            f"(MODEL.TEXT.TEMPLATES), or 0 for exact scores, got {rank}. "
            "A quarter of the templates or less is where time is won."
        )
    if rank and attention != "linear":
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.TEMPLATE_RANK: expected 0 with {attention} attention, got {rank}. "
            'Set MODEL.SEM_SEG_HEAD.ATTENTION "linear", which is decoded in chunks of classes.'
        )


class TemplateBasis:
    """The factors of every class of a vocabulary."""

    def __init__(self, class_embeds: Tensor, rank: int):
        """Factorise, in the precision of the embeddings whatever autocast says.

        Args:
            class_embeds: (T, P, C) text embeddings of any length.
            rank: r, from 1 to P.
        """
        basis, factors, lost = [], [], []
        with torch.no_grad(), torch.autocast(class_embeds.device.type, enabled=False):
            for part in class_embeds.split(_CLASSES_AT_ONCE):
                part = F.normalize(part, dim=-1)
                # The greatest eigenvalues come last.
                values, vectors = torch.linalg.eigh(part @ part.mT)
                basis.append(vectors[:, :, -rank:])
                factors.append(basis[-1].mT @ part)
                lost.append(values[:, :-rank].sum(1).clamp(min=0) / part.shape[1])
        self.basis = torch.cat(basis)  # (T, P, r): U
        self.factors = torch.cat(factors)  # (T, r, C): V
        self.lost = torch.cat(lost)  # (T,): mean squared error of a class's unit embeddings


class ReducedCostVolume:
    """Stands in for `CostVolume` where the decoder goes in chunks of classes."""

    def __init__(self, basis: TemplateBasis, cost: CostVolume):
        """Keep the factors.

        Args:
            basis: of the vocabulary of `cost`.
            cost: whose image features are used.
        """
        self.basis, self.image_feats = basis, cost.image_feats
        batch, _, num_classes, height, width = cost.shape
        self.shape = (batch, basis.basis.shape[-1], num_classes, height, width)
        self.device = cost.device

    def of_classes(self, image: int, classes: Tensor) -> Tensor:
        """Some classes of one image: (n,) int64 indices to (n, r, h, w)."""
        factors = self.basis.factors.index_select(0, classes).flatten(0, 1)
        scores = factors @ self.image_feats[image].flatten(1)
        return scores.reshape(len(classes), -1, *self.shape[-2:])

    def embed(self, conv: nn.Conv2d, scores: Tensor, classes: Tensor) -> Tensor:
        """See `CostVolume.embed`; of (n, r, h, w), with the weights folded."""
        n, rank, height, width = scores.shape
        kernel = conv.weight.permute(0, 2, 3, 1)  # (O, k, k, P)
        weights = kernel.flatten(0, 2) @ self._basis(classes)
        weights = weights.reshape(*kernel.shape[:3], n, rank).permute(3, 0, 4, 1, 2).flatten(0, 1)
        # A group per class: each has a kernel of its own.
        scores = scores.reshape(1, n * rank, height, width)
        bias = None if conv.bias is None else conv.bias.repeat(n)
        scores = F.conv2d(scores, weights, bias, padding=conv.padding, groups=n)
        return scores.reshape(n, -1, height, width)

    def double(self, up: nn.ConvTranspose2d, scores: Tensor, classes: Tensor) -> Tensor:
        """See `CostVolume.double`; of (n, r, h, w), with the weights folded."""
        n, rank, height, width = scores.shape
        kernel = up.weight.permute(0, 2, 3, 1)  # (P, 2, 2, G)
        weights = (self._basis(classes).T @ kernel.flatten(1)).reshape(n, rank, -1)
        result = torch.bmm(scores.flatten(2).mT, weights)
        result = result.reshape(n, height, width, 2, 2, -1).transpose(2, 3)
        result = result.reshape(n, 2 * height, 2 * width, -1)
        return (result if up.bias is None else result + up.bias).permute(0, 3, 1, 2)

    def _basis(self, classes: Tensor) -> Tensor:
        """(P, n r)."""
        return self.basis.basis.index_select(0, classes).transpose(0, 1).flatten(1)


class LatestBasis:
    """Factorises a vocabulary once, not once per image: remembers the latest embeddings."""

    def __init__(self, rank: int):
        """Nothing is known yet; see `TemplateBasis` for `rank`."""
        self.rank = rank
        self._embeds: Tensor | None = None
        self._version = 0
        self._basis: TemplateBasis | None = None

    def of(self, class_embeds: Tensor) -> TemplateBasis:
        """The factors of embeddings (T, P, C); made again for another tensor or a changed one."""
        # Tensors made in inference mode count no changes; the text encoder makes none there.
        version = 0 if class_embeds.is_inference() else class_embeds._version
        known = class_embeds is self._embeds and version == self._version
        if self._basis is None or not known:
            self._basis = TemplateBasis(class_embeds, self.rank)
            self._embeds, self._version = class_embeds, version
            logger.info(
                "TEMPLATE_RANK %d: of the templates' squares %.2g are lost on average, %.2g at "
                "most, over %d names.",
                *(self.rank, self._basis.lost.mean(), self._basis.lost.max(), len(class_embeds)),
            )
        return self._basis
