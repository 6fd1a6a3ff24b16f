"""Scores of a network that answers with masks of queries: sum of mask x share of a class.

As Mask2Former (CVPR 2022) reads semantic maps, and EBSeg after it.

Shapes: Q queries, T classes, n of them, h x w cells of the masks, H x W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stseg.modeling.scores.sources import Cells, Cropped, Range, Resized, Source


class QuerySum:
    """A source of classes on top of a source of mask logits.

    Masks of the pixels asked for are made anew each time, never all at full size.
    """

    def __init__(self, masks: Source, shares: Tensor) -> None:
        """Keep both.

        Args:
            masks: logits, with queries in the place of classes.
            shares: (Q, T) of each class in a query, in [0, 1].
        """
        self._masks, self._shares = masks, shares
        self.size, self.grain, self.device = masks.size, masks.grain, masks.device
        self.classes = shares.shape[1]

    def bounds(self, rows: Range, cols: Sequence[Range]) -> tuple[Tensor, Tensor]:
        """See `Source`."""
        low, high = self._masks.bounds(rows, cols)
        return low.sigmoid() @ self._shares, high.sigmoid() @ self._shares

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """See `Source`."""
        masks = self._inside(rows, cols)
        scores = self._shares.index_select(1, ids).T @ masks.flatten(1)
        return scores.unflatten(1, masks.shape[1:])

    def scale(self, rows: Range, cols: Range) -> Tensor:
        """A pixel may lie in several masks: then scores are divided by how many."""
        return 1 / self._inside(rows, cols).sum(0).clamp(min=1)

    def below(self, row: int) -> "QuerySum":
        """See `Source`."""
        return QuerySum(self._masks.below(row), self._shares)

    def _inside(self, rows: Range, cols: Range) -> Tensor:
        """(Q, rows, cols) in [0, 1]."""
        queries = torch.arange(len(self._shares), device=self.device)
        return self._masks.take(queries, rows, cols).sigmoid()


class QueryScores:
    """Mask logits on their way to a picture: resized to the padded input, cropped, resized."""

    def __init__(
        self, mask_logits: Tensor, shares: Tensor, padded: tuple[int, int], size: tuple[int, int]
    ) -> None:
        """Keep one image's answer.

        Args:
            mask_logits: (Q, h, w).
            shares: (Q, T), see `QuerySum`.
            padded: (H, W) of the network's input.
            size: of the image in its upper left corner.
        """
        self._cells, self._shares = Cells(mask_logits), shares.float()
        self._padded, self._size = padded, size

    def at(self, size: tuple[int, int]) -> Source:
        """Scores at the picture's size; masks are bent to [0, 1] there, not before."""
        picture = Cropped(Resized(self._cells, self._padded), self._size)
        return QuerySum(Resized(picture, size), self._shares)
