"""The text side's answer: unit embeddings of every name under every template."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class ClassEmbeddings:
    """Text embeddings of a vocabulary, one row per name.

    Attributes:
        embeds: (S, P, C) float, unit length along C; S names (all synonyms of all classes),
            P templates.
        class_index: (S,) int64, the class in [0, T) each row belongs to, ascending.
        num_classes: T.
    """

    embeds: Tensor
    class_index: Tensor
    num_classes: int

    def mean_over_synonyms(self) -> "ClassEmbeddings":
        """One row per class: the mean of its names' embeddings, made unit again (SED)."""
        sums = self.embeds.new_zeros(self.num_classes, *self.embeds.shape[1:])
        sums = sums.index_add(0, self.class_index, self.embeds)
        return ClassEmbeddings(
            F.normalize(sums, dim=-1),
            torch.arange(self.num_classes, device=self.embeds.device),
            self.num_classes,
        )

    def mean_over_templates(self) -> Tensor:
        """One vector per row, (S, C): the mean over the templates, made unit again (CLIP)."""
        return F.normalize(self.embeds.mean(dim=1), dim=-1)

    def class_scores(self, name_scores: Tensor) -> Tensor:
        """A class scores as its best name.

        Args:
            name_scores: (B, S, h, w).

        Returns:
            (B, T, h, w).
        """
        if name_scores.shape[1] == self.num_classes:
            return name_scores
        index = self.class_index[None, :, None, None].expand_as(name_scores)
        shape = (name_scores.shape[0], self.num_classes, *name_scores.shape[2:])
        empty = name_scores.new_full(shape, -torch.inf)
        return empty.scatter_reduce(1, index, name_scores, "amax", include_self=False)

    def of_best_names(self, scores: Tensor) -> Tensor:
        """`class_scores` with names last, (..., S) to (..., T)."""
        flat = scores.flatten(0, -2)[..., None, None]
        return self.class_scores(flat).reshape(*scores.shape[:-1], self.num_classes)
