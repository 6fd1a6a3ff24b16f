"""Predictions that self-training labels and judges with."""

import pytest
import torch
from torch import nn

from stseg.self_training.dataset_labeler import predict, predict_labels
from stseg.structures import Vocabulary


class Scores(nn.Module):
    """Answers with given scores, whatever it sees."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, inputs):
        return [{"sem_seg": self.scores} for _ in inputs]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("ask", [predict, predict_labels])
def test_probabilities_that_are_not_finite_are_refused_and_the_image_named(ask, value):
    scores = torch.rand(3, 4, 6)
    item = {
        "image": torch.zeros(3, 4, 6),
        "file_name": "photos/a.jpg",
        "vocabulary": Vocabulary.parse("a; b; c"),
        "height": 4,
        "width": 6,
    }
    ask(Scores(scores), item, 100)
    scores[1, 2, 3] = value
    with pytest.raises(FloatingPointError, match=r"photos/a.jpg: expected finite probabilities"):
        ask(Scores(scores), item, 100)
