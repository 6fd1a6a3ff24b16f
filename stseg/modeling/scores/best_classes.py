"""The best classes of every pixel, block by block.

A class whose greatest score in a block lies below another one's least cannot win there: it is left
out, which changes nothing in the result and makes the time depend little on the number of classes.

Shapes: T classes, n of them, H x W pixels, k best classes, M blocks.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from stseg.modeling.scores.sources import Range, Source

#: Memory for the scores of one block: they stay in a processor's cache.
_BYTES = 32 << 20
#: Side of a block in pixels, and at most in cells: few classes can win in a small one.
_SIDE, _CELLS = 48, 16


@torch.no_grad()
def read_best(source: Source, k: int = 1) -> tuple[Tensor, Tensor]:
    """The k best classes of every pixel; of equals, the lower id.

    Args:
        source: of the wanted size.
        k: classes per pixel.

    Returns:
        (k, H, W) int32 class ids, the best first, and (k, H, W) float32 confidences.

    Raises:
        ValueError: if k is not in [1, T].
    """
    check_k(k, source.classes)
    shape = (k, *source.size)
    labels = torch.zeros(shape, dtype=torch.int32, device=source.device)
    confidences = torch.zeros(shape, device=source.device)
    sides = [_side(*sides) for sides in zip(source.grain, source.size, strict=True)]
    blocks = list(_ranges(source.size[1], sides[1]))
    for y in _ranges(source.size[0], sides[0]):
        candidates = _candidates(*source.bounds(y, blocks), k)
        for x, ids in zip(blocks, candidates, strict=True):
            values, found = _best_of_block(source, ids, y, x, k)
            scale = source.scale(y, x)
            place = (slice(None), slice(*y), slice(*x))
            confidences[place] = values if scale is None else (values * scale).clamp(max=1)
            labels[place] = found.to(torch.int32)
    return labels, confidences


def _best_of_block(
    source: Source, ids: Tensor, y: Range, x: Range, k: int
) -> tuple[Tensor, Tensor]:
    best: tuple[Tensor, Tensor] | None = None
    for chunk in ids.split(_chunk(source, y, x)):
        best = _better(best, chunk, source.take(chunk, y, x), k)
    assert best is not None
    return best


def _chunk(source: Source, y: Range, x: Range) -> int:
    """Classes whose scores in a block fit: cells twice, pixels about four times."""
    pixels = (y[1] - y[0]) * (x[1] - x[0])
    cells = 1
    for grain, size, (start, stop) in zip(source.grain, source.size, (y, x), strict=True):
        cells *= -(-grain * (stop - start) // size) + 2
    return max(_BYTES // (4 * (2 * cells + 4 * pixels)), 1)


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


def _ranges(end: int, length: int) -> Iterator[Range]:
    for start in range(0, end, length):
        yield start, min(start + length, end)
