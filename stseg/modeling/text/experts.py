"""Some of the templates for each class, where weights came with such a choice.

The decoder has learnt what each of P channels is like, so that P of them there must be. A class's
embeddings are moved as one, to where the mean of its chosen templates is: every template keeps its
channel and its place among the others.

Shapes: S names, P templates, C channels of the embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.modeling.text.class_embeddings import ClassEmbeddings

#: Of `stseg.checkpoint.WeightFacts`: names of a class, and its templates.
Choice = Sequence[tuple[tuple[str, ...], tuple[str, ...]]]


def moved_to_experts(
    embeddings: ClassEmbeddings, chosen: Mapping[int, Sequence[int]]
) -> ClassEmbeddings:
    """Move the embeddings of some classes, all templates by as much.

    Args:
        embeddings: of a vocabulary; left as they are.
        chosen: class to its templates, indices in [0, P); classes that are missing stay.

    Returns:
        The same rows, unit length.
    """
    embeds = embeddings.embeds.clone()
    for row, of_class in enumerate(embeddings.class_index.tolist()):
        if of_class in chosen:
            own = embeds[row]
            step = own[list(chosen[of_class])].mean(0) - own.mean(0)
            embeds[row] = F.normalize(own + step, dim=-1)
    return ClassEmbeddings(embeds, embeddings.class_index, embeddings.num_classes)


class LatestExperts:
    """Moves a vocabulary once, not once per image: remembers the latest."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._embeds: Tensor | None = None
        self._asked: tuple[Any, ...] = ()
        self._moved: ClassEmbeddings | None = None

    # As the text encoder: what is kept must serve training, too.
    @torch._dynamo.disable
    @torch.inference_mode(False)
    @torch.no_grad()
    def of(
        self,
        embeddings: ClassEmbeddings,
        synonyms: Sequence[tuple[str, ...]],
        templates: Sequence[str],
        choice: Choice,
    ) -> ClassEmbeddings:
        """What a choice makes of a vocabulary.

        Args:
            embeddings: of the text encoder, whose cache knows them; left as they are.
            synonyms: names of every class.
            templates: the P texts.
            choice: a class of other names, or with a template that is none of the P, keeps all.

        Returns:
            The same rows, unit length; not to be written to.
        """
        asked = (tuple(synonyms), tuple(templates), choice)
        if self._moved is None or self._embeds is not embeddings.embeds or self._asked != asked:
            texts = {names: wanted for names, wanted in choice if set(wanted) <= set(templates)}
            chosen = {
                i: [templates.index(text) for text in texts[names]]
                for i, names in enumerate(synonyms)
                if names in texts
            }
            self._embeds, self._asked = embeddings.embeds, asked
            self._moved = moved_to_experts(embeddings, chosen)
        return self._moved
