"""Scores of many classes over a picture, read in rectangles: never all classes at full size.

A source has `size` (H, W) and `classes` T; `bounds` tells how low and high every class is, and
`take` gives the scores of some classes in a rectangle. Sources stack: cells of a network, cells
resized, the average of resized windows.

Shapes: T classes, n of them, H x W the source's own pixels. Ranges are (start, stop).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Range = tuple[int, int]


class Source(Protocol):
    """Anything that scores can be read from."""

    size: tuple[int, int]
    classes: int
    device: torch.device

    def bounds(self, rows: Range) -> tuple[Tensor, Tensor]:
        """Least and greatest score, or below and above, per column and class: (W, T) each."""

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """Scores (n, rows, cols) float32 of the classes `ids` (n,)."""


class Axis:
    """Bilinear interpolation along one side, as `F.interpolate` with align_corners False."""

    def __init__(self, cells: int, pixels: int, device: torch.device) -> None:
        """Find the two cells of every pixel and their shares."""
        # NOTE: in float32, as F.interpolate; at 3000 pixels its rounding is worth 1e-5 of a cell.
        scale = torch.tensor(cells, dtype=torch.float32) / pixels
        place = ((torch.arange(pixels, dtype=torch.float32) + 0.5) * scale - 0.5).clamp(min=0)
        first = place.long().clamp(max=cells - 1)
        self.is_identity = cells == pixels
        last = first if self.is_identity else (first + 1).clamp(max=cells - 1)
        self._ends = first.tolist(), last.tolist()
        self._first, self._last = first.to(device), last.to(device)
        self._share = (place - first).to(device)[:, None]
        self._plans: dict[Range, tuple[Tensor, Tensor, Tensor]] = {}

    def cells(self, pixels: Range) -> Range:
        """Cells that a range of pixels lies on."""
        first, last = self._ends
        return first[pixels[0]], last[pixels[1] - 1] + 1

    def finished(self, cells: int) -> int:
        """How many pixels, from the start, lie on the first so many cells alone."""
        return sum(last < cells for last in self._ends[1])

    def mix(self, values: Tensor, pixels: Range) -> Tensor:
        """(cells of the range, M) -> (pixels of the range, M)."""
        if pixels not in self._plans:
            start, part = self.cells(pixels)[0], slice(*pixels)
            plan = self._first[part] - start, self._last[part] - start, self._share[part]
            self._plans[pixels] = plan
        first, last, share = self._plans[pixels]
        return values.index_select(0, first).lerp_(values.index_select(0, last), share)

    def neighbours(self) -> tuple[Tensor, Tensor]:
        """The two cells of every pixel, (pixels,) int64 each."""
        return self._first, self._last


class Cells:
    """What a network gives."""

    def __init__(
        self,
        scores: Tensor,
        activation: Callable[[Tensor], Tensor] | None = None,
        skipped: int = 0,
    ) -> None:
        """Keep the scores.

        Args:
            scores: (T, h, w) of any float type.
            activation: rising function that makes the scores of `take` out of these.
            skipped: rows above, which are never asked for.
        """
        self._scores, self._activation, self._skipped = scores, activation, skipped
        self.classes, self.device = scores.shape[0], scores.device
        self.size = (skipped + scores.shape[1], scores.shape[2])

    def bounds(self, rows: Range) -> tuple[Tensor, Tensor]:
        """See `Source`."""
        part = self._scores[:, rows[0] - self._skipped : rows[1] - self._skipped]
        low, high = (x.T.contiguous() for x in (part.amin(1), part.amax(1)))
        return self._activate(low), self._activate(high)

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """See `Source`."""
        part = self._scores[:, rows[0] - self._skipped : rows[1] - self._skipped, slice(*cols)]
        return self._activate(part.index_select(0, ids))

    def below(self, row: int) -> "Cells":
        """A copy without the rows above `row`, so that their memory can go."""
        kept = self._scores[:, row - self._skipped :].clone()
        return Cells(kept, self._activation, row)

    def _activate(self, scores: Tensor) -> Tensor:
        scores = scores.float()
        return scores if self._activation is None else self._activation(scores)


class Resized:
    """A source spread bilinearly over another size."""

    def __init__(self, source: Source, size: tuple[int, int]) -> None:
        """Prepare both sides."""
        self.source, self.size = source, (size[0], size[1])
        self.classes, self.device = source.classes, source.device
        self.rows = Axis(source.size[0], size[0], source.device)
        self.cols = Axis(source.size[1], size[1], source.device)

    def bounds(self, rows: Range) -> tuple[Tensor, Tensor]:
        """See `Source`."""
        low, high = self.source.bounds(self.rows.cells(rows))
        if self.cols.is_identity:
            return low, high
        first, last = self.cols.neighbours()
        return (
            torch.minimum(low.index_select(0, first), low.index_select(0, last)),
            torch.maximum(high.index_select(0, first), high.index_select(0, last)),
        )

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """See `Source`."""
        values = self.source.take(ids, self.rows.cells(rows), self.cols.cells(cols))
        if not self.rows.is_identity:
            n, r, c = values.shape
            mixed = self.rows.mix(values.transpose(0, 1).reshape(r, n * c), rows)
            values = mixed.view(-1, n, c).transpose(0, 1)
        if not self.cols.is_identity:
            n, r, c = values.shape
            # The side that is mixed comes first: whole rows of memory are gathered.
            mixed = self.cols.mix(values.permute(2, 0, 1).reshape(c, n * r), cols)
            values = mixed.view(-1, n, r).permute(1, 2, 0)
        return values


@dataclass(frozen=True)
class Window:
    """A part of a picture: where it lies and its scores, spread over its own pixels."""

    top: int
    left: int
    scores: Resized

    def below(self, row: int) -> "Window | None":
        """Without what only the picture's rows above `row` need; None if nothing is left."""
        height, width = self.scores.size
        if row >= self.top + height:
            return None
        first = self.scores.rows.cells((max(row - self.top, 0), height))[0]
        assert isinstance(self.scores.source, Cells)
        kept = Resized(self.scores.source.below(first), (height, width))
        return Window(self.top, self.left, kept)


class Average:
    """Mean of the windows over a picture, averaged with the whole picture's scores."""

    def __init__(
        self, windows: Sequence[Window], whole: Source | None, size: tuple[int, int]
    ) -> None:
        """Keep the parts; the windows must cover what is asked for."""
        self.windows, self.whole, self.size = tuple(windows), whole, size
        self.classes, self.device = windows[0].scores.classes, windows[0].scores.device

    def bounds(self, rows: Range) -> tuple[Tensor, Tensor]:
        """See `Source`: a mean lies between the least and the greatest of its parts."""
        shape = (self.size[1], self.classes)
        low = torch.full(shape, torch.inf, device=self.device)
        high = torch.full(shape, -torch.inf, device=self.device)
        for window in self.windows:
            own = _overlap(rows, window.top, window.scores.size[0])
            if own is not None:
                least, greatest = window.scores.bounds(own)
                cols = slice(window.left, window.left + window.scores.size[1])
                low[cols] = torch.minimum(low[cols], least)
                high[cols] = torch.maximum(high[cols], greatest)
        if self.whole is None:
            return low, high
        least, greatest = self.whole.bounds(rows)
        return (low + least) / 2, (high + greatest) / 2

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """See `Source`."""
        shape = (rows[1] - rows[0], cols[1] - cols[0])
        total = torch.zeros(len(ids), *shape, device=self.device)
        count = torch.zeros(shape, device=self.device)
        for window in self.windows:
            own_rows = _overlap(rows, window.top, window.scores.size[0])
            own_cols = _overlap(cols, window.left, window.scores.size[1])
            if own_rows is None or own_cols is None:
                continue
            place = (
                slice(*(y + window.top - rows[0] for y in own_rows)),
                slice(*(x + window.left - cols[0] for x in own_cols)),
            )
            total[(..., *place)] += window.scores.take(ids, own_rows, own_cols)
            count[place] += 1
        total /= count
        if self.whole is None:
            return total
        return total.add_(self.whole.take(ids, rows, cols)).div_(2)


def _overlap(asked: Range, start: int, length: int) -> Range | None:
    """The part of a range that lies on [start, start + length), counted from `start`."""
    first, last = max(asked[0] - start, 0), min(asked[1] - start, length)
    return (first, last) if first < last else None
