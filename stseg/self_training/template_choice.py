"""Templates chosen per class on the target's images, without labels or training (FLOSS, ICCV 2025).

Some of the templates suit a class better than the mean of all (arXiv 2504.10487). They are told by
their entropy: at the cells that a template gives to the class, asked alone, how sure it is of it.
Asked is the cosine of image and words, before the decoder, which never sees one template alone.

Shapes: T classes, S names, P templates, n cells of an image.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from stseg.checkpoint import WeightFacts, write_json
from stseg.modeling.meta_arch import STSeg
from stseg.modeling.text import ClassEmbeddings
from stseg.self_training.dataset_labeler import Items
from stseg.self_training.target import Target
from stseg.structures import Vocabulary
from stseg.utils import kept_random_state, phase, some_of

logger = logging.getLogger(__name__)

#: CLIP's logit scale, at which all its published models end: cosines become shares by it.
_SCALE = 100.0
#: A template is judged for a class by at least so many cells of all images.
_MIN_CELLS = 100


@dataclass(frozen=True)
class TemplateCounts:
    """What single templates say of cells.

    Attributes:
        entropy: (T, P) float64, sums over the cells that a template gives to a class, in nats.
        cells: (T, P) int64, how many they are.
    """

    entropy: NDArray[np.float64]
    cells: NDArray[np.int64]

    @classmethod
    def of(cls, dense: Tensor, embeddings: ClassEmbeddings) -> "TemplateCounts":
        """Of one image; one template at a time, so that (S, n) is all that is held.

        Args:
            dense: (C, h, w) features of any length.
            embeddings: of the vocabulary, under all templates.
        """
        num_templates, num_classes = embeddings.embeds.shape[1], embeddings.num_classes
        cells = F.normalize(dense.float().flatten(1), dim=0)
        found = []
        for template in range(num_templates):
            scores = (embeddings.embeds[:, template] @ cells)[None, :, :, None]
            log_shares = (_SCALE * embeddings.class_scores(scores))[0, :, :, 0].log_softmax(0)
            entropy = -(log_shares.exp() * log_shares).sum(0)
            found.append(torch.stack([log_shares.argmax(0).to(entropy), entropy]))
        winners, entropies = torch.stack(found, 1).cpu().double().numpy()  # (P, n) each
        place = winners.astype(np.int64) * num_templates + np.arange(num_templates)[:, None]
        shape, size = (num_classes, num_templates), num_classes * num_templates
        return cls(
            np.bincount(place.ravel(), entropies.ravel(), size).reshape(shape),
            np.bincount(place.ravel(), minlength=size).reshape(shape),
        )

    def __add__(self, other: "TemplateCounts") -> "TemplateCounts":
        return TemplateCounts(self.entropy + other.entropy, self.cells + other.cells)

    def means(self) -> NDArray[np.float64]:
        """(T, P) mean entropies; inf where there are too few cells to tell."""
        means = self.entropy / np.maximum(self.cells, 1)
        return np.where(self.cells >= _MIN_CELLS, means, np.inf)

    def best(self, top: int) -> list[list[int]]:
        """The templates of each class, the surest first.

        Args:
            top: how many, at least 1.

        Returns:
            Per class `top` indices in [0, P), or [] where less than `top`, or half, of the
            templates have enough cells, and where one class leaves nothing to be unsure of.
        """
        means = self.means()
        enough = np.isfinite(means).sum(1) >= max(top, means.shape[1] / 2)
        order = means.argsort(1, kind="stable")[:, :top]
        alone = len(means) == 1
        return [
            [] if alone or not ok else row.tolist() for row, ok in zip(order, enough, strict=True)
        ]


def check_top(top: int, model: nn.Module) -> None:
    """Refuse what `SELF_TRAINING.TEMPLATES.TOP` cannot be for a model.

    Raises:
        ValueError: if it is not below P, or the model is no STSeg.
    """
    if top and not isinstance(model, STSeg):
        raise ValueError(
            f"SELF_TRAINING.TEMPLATES.TOP: expected 0 with {type(model).__name__}, got {top}. "
            "Templates are chosen by STSeg's cosines of image and words; set it to 0."
        )
    if top and top >= len(model.text_encoder.templates):
        raise ValueError(
            "SELF_TRAINING.TEMPLATES.TOP: expected less than the "
            f"{len(model.text_encoder.templates)} of MODEL.TEXT.TEMPLATES, got {top}. FLOSS takes "
            "4 of 80; 0 keeps all."
        )


@phase("templates")
def choose_templates(
    model: STSeg, *, target: Target, items: Items, top: int, folder: str | PathLike[str]
) -> None:
    """Choose, and state it in the model's facts; all ranks together, each looks at its share.

    From then on the model goes by it, whatever it is asked for, and so do its checkpoints.

    Args:
        model: the bare segmentor; nothing but its facts changes.
        target: all of its images are looked at once, whole, also where the model has windows.
        items: gives their model inputs.
        top: templates of a class.
        folder: gets ``templates.json``, what was found and chosen.
    """
    check_top(top, model)
    counts = sum_counts(model, target, items)
    texts, best = model.text_encoder.templates, counts.best(top)
    model.facts = with_choice(model.facts, target.vocabulary, texts, best)
    if comm.is_main_process():
        content = {"top": top, "classes": _rows(target.vocabulary.names, counts, best, texts)}
        write_json(Path(folder) / "templates.json", content)
        names = target.vocabulary.names
        logger.info(
            "%d of %d templates chosen for %d of %d classes. Too few cells, all templates: %s",
            *(top, len(texts), sum(map(bool, best)), len(best)),
            some_of([name for name, rows in zip(names, best, strict=True) if not rows]) or "none",
        )


def with_choice(
    facts: WeightFacts,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    best: Sequence[Sequence[int]],
) -> WeightFacts:
    """Facts that state a choice, and no earlier one.

    Args:
        facts: of the weights.
        vocabulary: T classes.
        texts: the P templates.
        best: of each class, indices in [0, P); [] keeps all.
    """
    pairs = zip(vocabulary.synonyms, best, strict=True)
    choice = tuple((names, tuple(texts[p] for p in rows)) for names, rows in pairs if rows)
    return replace(facts, templates=choice)


def sum_counts(model: STSeg, target: Target, items: Items) -> TemplateCounts:
    """Of all images of a target, whichever rank saw them; random state is kept."""
    mine = target.records[comm.get_rank() :: comm.get_world_size()]
    with kept_random_state(), inference_context(model), torch.no_grad():
        embeddings = model.text_encoder(target.vocabulary)
        shape = (embeddings.num_classes, embeddings.embeds.shape[1])
        counts = TemplateCounts(np.zeros(shape), np.zeros(shape, np.int64))
        bar = tqdm(items(mine), "templates", len(mine), disable=not comm.is_main_process())
        for item in bar:
            features = model.encode([item["image"].to(model.device, torch.float32)])
            counts += TemplateCounts.of(features.tensors["dense"][0], embeddings)
    first, *others = comm.all_gather(counts)
    return sum(others, first)


def _rows(
    names: Sequence[str],
    counts: TemplateCounts,
    best: Sequence[Sequence[int]],
    texts: Sequence[str],
) -> list[dict[str, Any]]:
    """A class each, for `templates.json`: what was chosen, and the mean entropy of what was not."""
    means, rows = counts.means(), []
    for i, (name, chosen) in enumerate(zip(names, best, strict=True)):
        told = [
            {"template": texts[p], "entropy": float(means[i, p]), "cells": int(counts.cells[i, p])}
            for p in chosen
        ]
        judged = means[i][np.isfinite(means[i])]
        mean = float(judged.mean()) if len(judged) else None
        rows.append({"name": name, "chosen": told, "judged": len(judged), "entropy_of_all": mean})
    return rows
