"""Self-training's online mode: every batch is labelled by the present weights."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from detectron2.evaluation import inference_context
from torch import nn

from stseg.self_training.dataset_labeler import DatasetLabeler
from stseg.structures import IGNORE_LABEL


class OnlineTeacher:
    """Labels the weak view of each image; the model then learns from the strong one."""

    def __init__(
        self,
        labeler: DatasetLabeler,
        model: nn.Module,
        weights: Callable[[], AbstractContextManager],
    ) -> None:
        """Keep the parts.

        Args:
            labeler: gate and SAM, as in the rounds.
            model: the bare segmentor.
            weights: returns a context in which it holds the teacher's weights.
        """
        self._labeler, self._model, self._weights = labeler, model, weights
        self.thresholds: np.ndarray | None = None  # (T,) of the present round

    def __call__(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Put labels into a batch.

        Args:
            batch: model inputs with "weak_image" (3, h, w), which lies as "image" does, and
                "inside" (h, w) bool, where both show a picture. Labelled source images pass.
        """
        with self._weights(), inference_context(self._model), torch.no_grad():
            return [self._labelled(item) for item in batch]

    def _labelled(self, item: dict[str, Any]) -> dict[str, Any]:
        if "sem_seg" in item:
            return item
        image = item["weak_image"]
        height, width = image.shape[-2:]
        weak = {**item, "image": image, "height": height, "width": width}
        side = max(height, width)
        label = self._labeler.label(self._model, weak, thresholds=self.thresholds, max_side=side)
        labels = torch.from_numpy(label.label_map).long().where(item["inside"], IGNORE_LABEL)
        if label.weights is None:
            return {**item, "sem_seg": labels}
        return {**item, "sem_seg": labels, "sem_seg_weight": torch.from_numpy(label.weights)}


class TaughtLoader:
    """Batches of a loader, labelled when they are asked for."""

    def __init__(self, loader: Iterable[list[dict[str, Any]]], teacher: OnlineTeacher) -> None:
        self._loader, self._teacher = loader, teacher

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        return map(self._teacher, self._loader)  # which starts the loader at once
