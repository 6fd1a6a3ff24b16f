"""Scores of a network that sorts pixels into groups, each of which has a row of class scores.

As GroupViT (CVPR 2022) and PGSeg (NeurIPS 2023) are evaluated: shares of the groups are resized, a
pixel belongs to the greatest, and has its row.

Shapes: G groups, T classes, n of them, h x w cells, H x W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stseg.modeling.scores.sources import Cells, Range, Resized, Source


class GroupRows:
    """A source of classes on top of a source of shares of groups."""

    def __init__(self, shares: Source, rows: Tensor) -> None:
        """Keep both.

        Args:
            shares: at least 0, with groups in the place of classes.
            rows: (G, T) scores of the classes in a group, in [0, 1].
        """
        self._shares, self._rows = shares, rows
        self.size, self.grain, self.device = shares.size, shares.grain, shares.device
        self.classes = rows.shape[1]

    def bounds(self, rows: Range, cols: Sequence[Range]) -> tuple[Tensor, Tensor]:
        """See `Source`: of the groups that some pixel of a block may belong to."""
        low, high = self._shares.bounds(rows, cols)
        # Rounding must not leave out a group that is level with another.
        possible = (high >= low.amax(1, keepdim=True) - 1e-5)[..., None]
        least = self._rows.masked_fill(~possible, torch.inf).amin(1)
        return least, self._rows.masked_fill(~possible, -torch.inf).amax(1)

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """See `Source`."""
        groups = torch.arange(len(self._rows), device=self.device)
        labels = self._shares.take(groups, rows, cols).argmax(0)
        return self._rows.index_select(1, ids).T[:, labels]

    def scale(self, rows: Range, cols: Range) -> None:
        """They are probabilities."""
        del rows, cols

    def below(self, row: int) -> "GroupRows":
        """See `Source`."""
        return GroupRows(self._shares.below(row), self._rows)


class GroupScores:
    """Shares of groups at the cells of a feature map, on their way to a picture."""

    def __init__(self, shares: Tensor, rows: Tensor) -> None:
        """Keep one image's answer.

        Args:
            shares: (G, h, w) of any float type, of the whole image, in [0, 1].
            rows: (G, T), see `GroupRows`.
        """
        self._cells, self._rows = Cells(shares.float()), rows.float()

    def at(self, size: tuple[int, int]) -> Source:
        """See `Scores`; between cells shares are mixed, never rows."""
        return GroupRows(Resized(self._cells, size), self._rows)


def with_rest(rows: Tensor, rest: int, threshold: float) -> Tensor:
    """Rows with one more class, which has those groups whose best class is below a threshold.

    Args:
        rows: (G, T - 1) in [0, 1].
        rest: index of the class in [0, T).
        threshold: in [0, 1]; where no group reaches it, it is lowered to the best of all, so that
            some group has a class with words.

    Returns:
        (G, T); the class has 1 or 0.
    """
    best = rows.amax(1, keepdim=True)
    level = best.amax().clamp(max=threshold)
    before, after = rows.split([rest, rows.shape[1] - rest], 1)
    return torch.cat([before, (best < level).to(rows.dtype), after], 1)
