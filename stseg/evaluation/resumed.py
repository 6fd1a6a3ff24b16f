"""Evaluations that go on where they were stopped without asking the model again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from stseg.evaluation.sem_seg_evaluator import STSegSemSegEvaluator


class ResumedModel(nn.Module):
    """A model that is not run on the images which the evaluator of the moment has counted."""

    def __init__(self, model: nn.Module, evaluators: Sequence[STSegSemSegEvaluator]) -> None:
        """Wrap the model, in the mode that it is in; evaluators take turns, one per data set."""
        super().__init__()
        self.model = model
        self.training = model.training
        self._evaluators = evaluators

    def forward(self, inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The model's outputs, empty for counted images, which evaluators pass over."""
        asked = [item for item in inputs if not self._is_counted(item)]
        outputs = iter(self.model(asked) if asked else ())
        return [{} if self._is_counted(item) else next(outputs) for item in inputs]

    def _is_counted(self, item: dict[str, Any]) -> bool:
        name = item["file_name"]
        return any(e.is_counted(name) for e in self._evaluators if e.is_running)
