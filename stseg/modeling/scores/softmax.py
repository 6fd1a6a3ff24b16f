"""Scores of a network that was trained by a softmax over the classes: resized first, then bent.

So the best class between two cells is that of their resized scores, where probabilities of noughts
and ones would make a straight cut.

Shapes: T classes, n of them, h x w cells, H x W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stseg.modeling.scores.sources import Cells, Range, Resized, Source

#: Least logarithm of a probability that is told from none; its exponential is a float32 by far.
_LEAST = -80.0
#: Memory for the scores of some classes while those of all are summed.
_BYTES = 32 << 20


class Softmax:
    """A source of probabilities on top of a source of their logarithms, up to a factor per pixel.

    What all classes of a pixel sum up to is found where a confidence is asked for, not for a rank.
    """

    def __init__(self, logarithms: Source) -> None:
        """Keep them: at least `_LEAST` and at most 0, without `scale`."""
        self._logarithms = logarithms
        self.size, self.grain = logarithms.size, logarithms.grain
        self.classes, self.device = logarithms.classes, logarithms.device
        self._latest: tuple[Range, Range, Tensor] | None = None

    def bounds(self, rows: Range, cols: Sequence[Range]) -> tuple[Tensor, Tensor]:
        """See `Source`."""
        low, high = self._logarithms.bounds(rows, cols)
        return low.exp(), high.exp()

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """See `Source`."""
        return self._logarithms.take(ids, rows, cols).exp()

    def scale(self, rows: Range, cols: Range) -> Tensor:
        """See `Source`; the latest stays, as classes are asked for in turn."""
        if self._latest is None or self._latest[:2] != (rows, cols):
            pixels = (rows[1] - rows[0]) * (cols[1] - cols[0])
            ids = torch.arange(self.classes, device=self.device)
            parts = ids.split(max(_BYTES // (4 * pixels), 1))
            total = sum(self.take(part, rows, cols).sum(0) for part in parts)
            self._latest = rows, cols, 1 / total
        return self._latest[2]

    def below(self, row: int) -> "Softmax":
        """See `Source`."""
        return Softmax(self._logarithms.below(row))


class SoftmaxScores:
    """Scores at the cells of a feature map, of which a softmax over the classes makes confidences.

    Where cells are pixels that is their softmax; between cells, that of the resized log-softmax.
    """

    def __init__(self, scores: Tensor) -> None:
        """Keep one image's answer.

        Args:
            scores: (T, h, w) of any float type, of the whole image; -inf for what is ruled out,
                but for one class of a cell at least.
        """
        self._cells = Cells(scores.float().log_softmax(0).clamp(min=_LEAST))

    def at(self, size: tuple[int, int]) -> Source:
        """See `Scores`."""
        return Softmax(Resized(self._cells, size))
