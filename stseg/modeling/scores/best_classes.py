"""The best classes of a block of pixels, block by block.

A pixel's score is a mean of four cells, so a class whose highest cell in a block lies below
another one's lowest cannot win there: it is left out, which changes nothing in the result and makes
the time depend little on the number of classes.

Shapes: T classes, n of them, H x W pixels, k best classes.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from stseg.modeling.scores.sources import Range, Resized, Source

#: Memory for the scores of one block: they stay in a processor's cache.
_BYTES = 32 << 20
#: Side of a block in pixels, and at most in cells: few classes can win in a small one.
_SIDE, _CELLS = 48, 16


class BestClasses:
    """The best classes so far, of a picture that is filled in from above.

    Attributes:
        pixels: how cells become pixels.
        labels: (k, H, W) int32, the best first.
        confidences: (k, H, W) float32, their scores.
    """

    def __init__(self, pixels: Resized, k: int) -> None:
        """Make room for the result.

        Args:
            pixels: how cells become pixels.
            k: classes per pixel.
        """
        check_k(k, pixels.classes)
        self.pixels, self._k = pixels, k
        shape = (k, *pixels.size)
        self.labels = torch.zeros(shape, dtype=torch.int32, device=pixels.device)
        self.confidences = torch.zeros(shape, device=pixels.device)

    @torch.no_grad()
    def fill(self, source: Source, rows: Range) -> None:
        """Find the classes of some rows, from the scores of a source of the first one's size."""
        pixels = self.pixels
        pixels.source = source
        blocks = list(_ranges((0, pixels.size[1]), _side(source.size[1], pixels.size[1])))
        cells = _spans([pixels.cols.cells(x) for x in blocks], source.device)
        for y in _ranges(rows, _side(source.size[0], pixels.size[0])):
            low, high = (
                x.index_select(0, cells.flatten()).view(*cells.shape, -1)
                for x in source.bounds(pixels.rows.cells(y))
            )
            candidates = _candidates(low.amin(1), high.amax(1), self._k)
            for x, ids in zip(blocks, candidates, strict=True):
                self._fill_block(ids, y, x)

    def _fill_block(self, ids: Tensor, y: Range, x: Range) -> None:
        best: tuple[Tensor, Tensor] | None = None
        for chunk in ids.split(self._chunk(y, x)):
            best = _better(best, chunk, self.pixels.take(chunk, y, x), self._k)
        assert best is not None
        place = (slice(None), slice(*y), slice(*x))
        self.confidences[place] = best[0]
        self.labels[place] = best[1].to(torch.int32)

    def _chunk(self, y: Range, x: Range) -> int:
        """Classes whose scores in a block fit: cells twice, pixels about four times."""
        cells = [side.cells(part) for side, part in ((self.pixels.rows, y), (self.pixels.cols, x))]
        count = 2 * _area(*cells) + 4 * _area(y, x)
        return max(_BYTES // (4 * count), 1)


def _spans(ranges: Sequence[Range], device: torch.device) -> Tensor:
    """The numbers in each range, the last one repeated where others are longer: (M, longest)."""
    length = max(stop - start for start, stop in ranges)
    starts, stops = torch.tensor(ranges).T[..., None]
    return torch.minimum(starts + torch.arange(length), stops - 1).to(device)


def _candidates(low: Tensor, high: Tensor, k: int) -> tuple[Tensor, ...]:
    """Ids of the classes that can be among the k best somewhere in a block, rising.

    Args:
        low: (M, T) least score of each class in M blocks.
        high: (M, T) greatest.
        k: at least as many are returned.

    Returns:
        M times (n,) int64.
    """
    least = low.amax(1) if k == 1 else low.topk(k, dim=1).values[:, -1]
    # NOTE: "not below" keeps all classes where a score is not a number.
    kept = ~(high < least[:, None])
    return torch.nonzero(kept)[:, 1].split(kept.sum(1).tolist())


def _better(
    best: tuple[Tensor, Tensor] | None, ids: Tensor, scores: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The k best (values, ids), each (k, h, w), of those so far and some more classes.

    Args:
        best: those so far; fewer than k where there were fewer.
        ids: (n,).
        scores: (n, h, w).
        k: classes per pixel.
    """
    if k == 1:
        values, places = scores.max(dim=0, keepdim=True)
        if best is None:
            return values, ids[places]
        # The earlier of equals stays; maximum hands on what is not a number.
        labels = torch.where(values > best[0], ids[places], best[1])
        return torch.maximum(best[0], values), labels
    labels = ids[:, None, None].expand(scores.shape)
    if best is not None:
        scores, labels = torch.cat([best[0], scores]), torch.cat([best[1], labels])
    found = []
    for _ in range(min(k, len(scores))):
        values, places = scores.max(dim=0, keepdim=True)
        found.append((values, labels.gather(0, places)))
        scores = scores.scatter(0, places, -torch.inf)
    values, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return values, labels


def check_k(k: int, classes: int) -> None:
    """Refuse fewer than one class per pixel, or more than there are."""
    if not 1 <= k <= classes:
        raise ValueError(f"k: expected 1 to {classes} classes per pixel, got {k}.")


def _side(cells: int, pixels: int) -> int:
    """Side of a block in pixels."""
    return max(min(_SIDE, _CELLS * pixels // cells), 1)


def _ranges(whole: Range, length: int) -> Iterator[Range]:
    for start in range(whole[0], whole[1], length):
        yield start, min(start + length, whole[1])


def _area(rows: Range, cols: Range) -> int:
    return (rows[1] - rows[0]) * (cols[1] - cols[0])
