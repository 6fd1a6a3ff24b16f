"""The step that the trainings of the miniature towers share."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from stseg.engine import StepwiseTrainer


@dataclass(frozen=True)
class Recipe:
    steps: int = 30


def test_the_average_equals_the_model_first_and_follows_it_ever_more_slowly():
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    trainer = StepwiseTrainer("part", model, torch.optim.SGD(model.parameters(), lr=0.1), Recipe())
    expected = 1.0
    for step in range(1, 31):
        trainer.update({"pull": model.weight.sum()}, 0.1, average_from=5, highest_keep=0.5)
        done = max(0, step - 5)
        keep = min(0.5, done / (done + 10))
        expected = keep * expected + (1 - keep) * model.weight.item()
        assert trainer.average.weight.item() == pytest.approx(expected, abs=1e-5)
        if step <= 5:
            assert trainer.average.weight.item() == model.weight.item()
    assert trainer.average.weight.item() > model.weight.item() + 0.05
