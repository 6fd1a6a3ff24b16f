"""Scores of many classes over a picture, read in rectangles: never all classes at full size.

Sources stack: cells of a network, cells resized, windows averaged. A network that answers with
something else, such as masks of queries, brings a source of its own.

Shapes: T classes, n of them, H x W the source's own pixels, M blocks. Ranges are (start, stop).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

Range = tuple[int, int]


class Source(Protocol):
    """Anything that scores can be read from.

    Scores are finite, at least 0, and rank the classes of a pixel; where they are no probabilities,
    `scale` makes them confidences.

    Attributes:
        size: (H, W).
        grain: (h, w), how many different values a side has about, at most H and W.
        classes: T.
        device: of all tensors.
    """

    size: tuple[int, int]
    grain: tuple[int, int]
    classes: int
    device: torch.device

    def bounds(self, rows: Range, cols: Sequence[Range]) -> tuple[Tensor, Tensor]:
        """Least and greatest score, or below and above, of every class in M blocks: (M, T) each."""

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """Scores (n, rows, cols) float32 of the classes `ids` (n,)."""

    def scale(self, rows: Range, cols: Range) -> Tensor | None:
        """(rows, cols) positive; the confidence in [0, 1] is score x scale. None for 1."""

    def below(self, row: int) -> "Source":
        """The same without what only rows above `row` need, which are not asked for any more."""


def confidences(source: Source, ids: Tensor, rows: Range, cols: Range) -> Tensor:
    """(n, rows, cols) float32 in [0, 1]: what gate, "unknown", averages and calibration go by."""
    scores, scale = source.take(ids, rows, cols), source.scale(rows, cols)
    return scores if scale is None else (scores * scale).clamp(max=1)  # rounding


def confidence_bounds(source: Source, rows: Range, cols: Sequence[Range]) -> tuple[Tensor, Tensor]:
    """`Source.bounds` of confidences."""
    low, high = source.bounds(rows, cols)
    scales = [scale for x in cols if (scale := source.scale(rows, x)) is not None]
    if not scales:
        return low, high
    least = torch.stack([scale.amin() for scale in scales])[:, None]
    greatest = torch.stack([scale.amax() for scale in scales])[:, None]
    return low * least, high * greatest


#: Memory for the scores of some classes while all are written out.
_BYTES = 64 << 20


def calibrated(best: Tensor, temperature: float) -> Tensor:
    """How sure to be of the best class of a pixel (temperature scaling, Guo et al., ICML 2017).

    The other classes of the pixel are scaled by the same factor, so that none changes its rank.

    Args:
        best: confidences in [0, 1], any shape.
        temperature: above 0.

    Returns:
        sigmoid(logit(best) / temperature), in [0, 1]; 0 and 1 stay.
    """
    return torch.sigmoid(torch.logit(best) / temperature)


def probabilities(source: Source, temperature: float = 1.0) -> Tensor:
    """Confidences of all classes at full size, (T, H, W) float32; `calibrated` if asked for."""
    height, width = source.size
    chunk = max(_BYTES // (4 * height * width), 1)
    ids = torch.arange(source.classes, device=source.device)
    parts = [confidences(source, x, (0, height), (0, width)) for x in ids.split(chunk)]
    found = parts[0] if len(parts) == 1 else torch.cat(parts)
    if temperature == 1:
        return found
    best = found.amax(0).clamp(min=1e-6)
    return found * (calibrated(best, temperature) / best)


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

    def mix(self, values: Tensor, pixels: Range) -> Tensor:
        """(cells of the range, M) -> (pixels of the range, M)."""
        if pixels not in self._plans:
            start, part = self.cells(pixels)[0], slice(*pixels)
            plan = self._first[part] - start, self._last[part] - start, self._share[part]
            self._plans[pixels] = plan
        first, last, share = self._plans[pixels]
        return values.index_select(0, first).lerp_(values.index_select(0, last), share)


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
            activation: rising function that makes probabilities of these.
            skipped: rows above, which are never asked for.
        """
        self._scores, self._activation, self._skipped = scores, activation, skipped
        self.classes, self.device = scores.shape[0], scores.device
        self.size = self.grain = (skipped + scores.shape[1], scores.shape[2])

    def bounds(self, rows: Range, cols: Sequence[Range]) -> tuple[Tensor, Tensor]:
        """See `Source`."""
        part = self._scores[:, rows[0] - self._skipped : rows[1] - self._skipped]
        low, high = (x.T.contiguous() for x in (part.amin(1), part.amax(1)))
        columns = _columns(cols, self.device)
        low, high = (x.index_select(0, columns.flatten()) for x in (low, high))
        shape = (*columns.shape, self.classes)
        return self._activate(low.view(shape).amin(1)), self._activate(high.view(shape).amax(1))

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """See `Source`."""
        part = self._scores[:, rows[0] - self._skipped : rows[1] - self._skipped, slice(*cols)]
        return self._activate(part.index_select(0, ids))

    def scale(self, rows: Range, cols: Range) -> None:
        """They are probabilities."""
        del rows, cols

    def below(self, row: int) -> "Cells":
        """See `Source`."""
        kept = self._scores[:, row - self._skipped :].clone()
        return Cells(kept, self._activation, row)

    def _activate(self, scores: Tensor) -> Tensor:
        scores = scores.float()
        return scores if self._activation is None else self._activation(scores)


def _columns(ranges: Sequence[Range], device: torch.device) -> Tensor:
    """The numbers in each range, the last one repeated where others are longer: (M, longest)."""
    length = max(stop - start for start, stop in ranges)
    starts, stops = torch.tensor(ranges).T[..., None]
    return torch.minimum(starts + torch.arange(length), stops - 1).to(device)


class Resized:
    """The confidences of a source, spread bilinearly over another size."""

    def __init__(
        self, source: Source, size: tuple[int, int], axes: Sequence[Axis] | None = None
    ) -> None:
        """Prepare both sides; `axes` are those of an equal pair of sizes."""
        self._source, self.size = source, (size[0], size[1])
        self.grain = (min(source.grain[0], size[0]), min(source.grain[1], size[1]))
        self.classes, self.device = source.classes, source.device
        self._rows, self._cols = axes or [
            Axis(*sides, source.device) for sides in zip(source.size, self.size, strict=True)
        ]

    def bounds(self, rows: Range, cols: Sequence[Range]) -> tuple[Tensor, Tensor]:
        """See `Source`."""
        cells = [self._cols.cells(x) for x in cols]
        return confidence_bounds(self._source, self._rows.cells(rows), cells)

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """See `Source`."""
        if (rows, cols) == ((0, self.size[0]), (0, self.size[1])):
            height, width = self._source.size
            values = confidences(self._source, ids, (0, height), (0, width))
            return _interpolate(values, self.size)
        values = confidences(self._source, ids, self._rows.cells(rows), self._cols.cells(cols))
        if not self._rows.is_identity:
            n, r, c = values.shape
            mixed = self._rows.mix(values.transpose(0, 1).reshape(r, n * c), rows)
            values = mixed.view(-1, n, c).transpose(0, 1)
        if not self._cols.is_identity:
            n, r, c = values.shape
            # The side that is mixed comes first: whole rows of memory are gathered.
            mixed = self._cols.mix(values.permute(2, 0, 1).reshape(c, n * r), cols)
            values = mixed.view(-1, n, r).permute(1, 2, 0)
        return values

    def scale(self, rows: Range, cols: Range) -> None:
        """They are confidences."""
        del rows, cols

    def below(self, row: int) -> "Resized":
        """See `Source`."""
        first = self._rows.cells((row, self.size[0]))[0]
        return Resized(self._source.below(first), self.size, (self._rows, self._cols))


class Cropped:
    """The upper left part of a source, such as what is no padding."""

    def __init__(self, source: Source, size: tuple[int, int]) -> None:
        """Keep the source; `size` is at most its own."""
        self._source, self.size = source, (size[0], size[1])
        self.grain = (min(source.grain[0], size[0]), min(source.grain[1], size[1]))
        self.classes, self.device = source.classes, source.device
        self.bounds, self.take, self.scale = source.bounds, source.take, source.scale

    def below(self, row: int) -> "Cropped":
        """See `Source`."""
        return Cropped(self._source.below(row), self.size)


def _interpolate(values: Tensor, size: tuple[int, int]) -> Tensor:
    if values.shape[-2:] == size:
        return values
    return F.interpolate(values[None], size, mode="bilinear", align_corners=False)[0]
