"""What a network says of an image, at whatever size it is asked for."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from stseg.modeling.scores.sources import Cells, Resized, Source


class Scores(Protocol):
    """The answer for one image. Where it is resized, cropped and bent is its own business."""

    def at(self, size: tuple[int, int]) -> Source:
        """The source of the picture at (H, W) pixels."""


class CellScores:
    """Scores at the cells of a feature map: bent first, then resized, as SED is evaluated."""

    def __init__(
        self, scores: Tensor, activation: Callable[[Tensor], Tensor] | None = torch.sigmoid
    ) -> None:
        """Keep the scores.

        Args:
            scores: (T, h, w) of any float type, of the whole image.
            activation: rising function that makes probabilities of them; None if they are.
        """
        self.activation = activation
        self._cells = Cells(scores, activation)

    def at(self, size: tuple[int, int]) -> Source:
        """See `Scores`."""
        return Resized(self._cells, size)
