"""Detectron2's list of dicts as what the systems here work on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stseg.modeling.scores import pad_to_batch
from stseg.structures import IGNORE_LABEL, Vocabulary


@dataclass(frozen=True)
class Batch:
    """What a system's `losses` may learn from; all is optional.

    Attributes:
        words: T classes, of all images; None where all have captions and none has classes.
        sem_seg: (B, H, W) int64 class ids, `IGNORE_LABEL` where unlabelled and where an image is
            padded; None if there are no label maps.
        items: Detectron2's dicts as they came, for what only some systems know: masks, captions,
            candidate names.
        sem_seg_weight: (B, H, W) float32 in [0, 1], how much each label counts, 1 where an image is
            padded; None for 1 everywhere.
    """

    words: Vocabulary | None
    sem_seg: Tensor | None = None
    items: tuple[dict[str, Any], ...] = ()
    sem_seg_weight: Tensor | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """`words`, for what learns from classes.

        Raises:
            ValueError: if there are none.
        """
        if self.words is None:
            raise ValueError(
                "batched_inputs: expected a 'vocabulary' in every input, got captions alone, from "
                "which this system does not learn. Name a data set with label maps in "
                "DATASETS.TRAIN, or a MODEL.META_ARCHITECTURE that learns from captions."
            )
        return self.words

    @property
    def labels(self) -> Tensor:
        """`sem_seg`, for what learns from label maps alone.

        Raises:
            ValueError: if an image has none.
        """
        labelled = sum("sem_seg" in item for item in self.items)
        if self.sem_seg is None or labelled < len(self.items):
            raise ValueError(
                "batched_inputs: expected 'sem_seg', a label map, in every input that is trained "
                f"on, got it in {labelled} of {len(self.items)} inputs. The mapper reads it from a "
                "data set with labels; for an answer without them call model.eval() first."
            )
        return self.sem_seg

    @classmethod
    def of(cls, batched_inputs: Sequence[dict[str, Any]], device: torch.device) -> "Batch":
        """Gather a batch of one vocabulary, or of captions alone.

        Raises:
            ValueError: if it has no common vocabulary.
        """
        has_words = not all("caption" in x and "vocabulary" not in x for x in batched_inputs)
        labelled = [x for x in batched_inputs if "sem_seg" in x]
        labels = [x["sem_seg"].to(device) for x in labelled]
        return cls(
            common_vocabulary(batched_inputs) if has_words else None,
            pad_to_batch(labels, IGNORE_LABEL) if labels else None,
            tuple(batched_inputs),
            _weights_of(labelled, labels),
        )


def _weights_of(items: Sequence[dict[str, Any]], labels: Sequence[Tensor]) -> Tensor | None:
    """`Batch.sem_seg_weight` of labelled items."""
    if not any("sem_seg_weight" in item for item in items):
        return None
    weights = [
        item["sem_seg_weight"].to(x.device, torch.float32)
        if "sem_seg_weight" in item
        else torch.ones_like(x, dtype=torch.float32)
        for item, x in zip(items, labels, strict=True)
    ]
    return pad_to_batch(weights, 1.0)


def images_of(batched_inputs: Sequence[dict[str, Any]], device: torch.device) -> list[Tensor]:
    """(3, H, W) float32 each."""
    return [x["image"].to(device, torch.float32) for x in batched_inputs]


def wanted_sizes(batched_inputs: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """(height, width) of the maps that are asked for."""
    sizes = [x["image"].shape[-2:] for x in batched_inputs]
    return [
        (x.get("height", height), x.get("width", width))
        for x, (height, width) in zip(batched_inputs, sizes, strict=True)
    ]


def common_vocabulary(batched_inputs: Sequence[dict[str, Any]]) -> Vocabulary:
    """The vocabulary all inputs of a batch carry."""
    vocabularies = {x["vocabulary"] for x in batched_inputs if "vocabulary" in x}
    if len(vocabularies) != 1 or any("vocabulary" not in x for x in batched_inputs):
        raise ValueError(
            f"batched_inputs: expected one and the same 'vocabulary' in every input, got "
            f"{len(vocabularies)} different ones in {len(batched_inputs)} inputs. The mapper sets "
            "it from the data set's metadata; set it yourself with Vocabulary.parse(...)."
        )
    return vocabularies.pop()
