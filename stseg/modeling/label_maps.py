"""The most probable classes of every pixel, without the probabilities of all classes at full size.

847 classes on a photo of 3000 x 2000 pixels are 20 GB. Here the scores stay at the size that the
network gives; blocks of pixels are made of them, for some classes at a time. A pixel's value is a
mean of four cells, so a class whose highest cell in a block lies below another one's lowest cannot
win there: it is left out, which changes nothing in the result.

Shapes: T classes, H x W pixels, k best classes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stseg.modeling.inference import Tiles, resize, window_starts
from stseg.modeling.score_sources import Average, Cells, Range, Resized, Source, Window

#: Memory for the scores of one block: they stay in a processor's cache.
_BYTES = 32 << 20
#: Side of a block in pixels, and at most in cells: few classes can win in a small one.
_SIDE, _CELLS = 48, 16


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The k best classes of every pixel, the best first.

    Attributes:
        top_labels: (k, H, W) int32 class ids.
        top_confidences: (k, H, W) float32 probabilities.
    """

    top_labels: Tensor
    top_confidences: Tensor

    @classmethod
    def of(cls, probs: Tensor, k: int = 1) -> "LabelMap":
        """Read off probabilities (T, H, W)."""
        _check_k(k, len(probs))
        if k == 1:
            confidences, labels = (x[None] for x in probs.float().max(dim=0))
        else:
            confidences, labels = probs.float().topk(k, dim=0)
        return cls(labels.to(torch.int32), confidences)

    @property
    def labels(self) -> Tensor:
        """(H, W) int32, the most probable class."""
        return self.top_labels[0]

    @property
    def confidence(self) -> Tensor:
        """(H, W) float32, its probability."""
        return self.top_confidences[0]


def label_maps(model: nn.Module, inputs: Sequence[dict[str, Any]], k: int = 1) -> list[LabelMap]:
    """Label maps of a batch, streamed where the model can.

    Args:
        model: any model with Detectron2's semantic segmentation output, in evaluation mode.
        inputs: as the model takes them.
        k: classes per pixel.
    """
    if hasattr(model, "label_maps"):
        return model.label_maps(inputs, k)
    return [LabelMap.of(output["sem_seg"], k) for output in model(inputs)]


def top_classes(
    scores: Tensor,
    size: Sequence[int],
    k: int = 1,
    activation: Callable[[Tensor], Tensor] | None = None,
) -> LabelMap:
    """The best classes of `resize(activation(scores), size)`, which is never made.

    Args:
        scores: (T, h, w) of any float type.
        size: (H, W) in pixels.
        k: classes per pixel.
        activation: rising function such as `torch.sigmoid`; None takes the scores as they are.

    Raises:
        ValueError: if k is not in [1, T].
    """
    source = Cells(scores, activation)
    best = _Best(Resized(source, (size[0], size[1])), k)
    best.fill(source, (0, size[0]))
    return best.found


def top_classes_of_tiles(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    tiles: Tiles,
    working_size: Sequence[int],
    size: Sequence[int],
    k: int = 1,
    activation: Callable[[Tensor], Tensor] | None = None,
) -> LabelMap:
    """The best classes of what `predict_tiles` gives, resized.

    Scores of about one row of windows are held at a time, as the network gives them.

    Args:
        predict: (1, 3, h, w) image of the working size -> (1, T, h', w') scores.
        image: (3, H', W').
        tiles: the windows.
        working_size: (h, w).
        size: (H, W) of the result.
        k: classes per pixel.
        activation: rising function that makes probabilities of scores.

    Raises:
        ValueError: if k is not in [1, T].
    """

    def scores(part: Tensor) -> Cells:
        return Cells(predict(resize(part[None], working_size))[0], activation)

    height, width = image.shape[-2:]
    h, w = min(tiles.size[0], height), min(tiles.size[1], width)
    whole = Resized(scores(image), (height, width)) if tiles.whole_image else None
    tops, lefts = window_starts(height, h, tiles.overlap), window_starts(width, w, tiles.overlap)
    windows: list[Window] = []
    best, done = None, 0
    for top, covered in zip(tops, [*tops[1:], height], strict=True):
        for left in lefts:
            crop = image[:, top : top + h, left : left + w]
            windows.append(Window(top, left, Resized(scores(crop), (h, w))))
        average = Average(windows, whole, (height, width))
        # Pixels above `covered` are in no later window.
        if best is None:
            best = _Best(Resized(average, (size[0], size[1])), k)
        end = best.pixels.rows.finished(covered)
        if end > done:
            best.fill(average, (done, end))
            done = end
        if done < size[0]:
            needed = best.pixels.rows.cells((done, size[0]))[0]
            windows = [kept for x in windows if (kept := x.below(needed)) is not None]
    assert best is not None  # there is at least one window
    return best.found


class _Best:
    """The best classes so far, of a picture that is filled in from above."""

    def __init__(self, pixels: Resized, k: int) -> None:
        """Make room for the result.

        Args:
            pixels: how cells become pixels.
            k: classes per pixel.
        """
        _check_k(k, pixels.classes)
        self.pixels, self._k = pixels, k
        self.found = LabelMap(
            torch.zeros(k, *pixels.size, dtype=torch.int32, device=pixels.device),
            torch.zeros(k, *pixels.size, device=pixels.device),
        )

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
        self.found.top_confidences[place] = best[0]
        self.found.top_labels[place] = best[1].to(torch.int32)

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


def _check_k(k: int, classes: int) -> None:
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
