"""Evaluation by overlapping windows: their scores as one source, of a system of any kind.

Shapes: T classes, n of them, H x W the canvas, the image as it is or stretched.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from torch import Tensor

from stseg.config import check
from stseg.modeling.scores.sources import (
    Range,
    Resized,
    Source,
    confidence_bounds,
    confidences,
)

Box = tuple[int, int, int, int]  # top, left, height, width in pixels of the canvas


@dataclass(frozen=True)
class Tiles:
    """How to evaluate by overlapping windows instead of by the whole image.

    Attributes:
        size: (height, width) of a window in pixels of the canvas; a shorter side is taken whole.
        overlap: share of a window that its neighbour covers again, in [0, 1).
        whole_image: average the windows' result with that of the whole image (CAT-Seg).
        canvas: (height, width) that an image is stretched to before windows are cut (CAT-Seg); None
            cuts them from the image as it is.
    """

    size: tuple[int, int]
    overlap: float = 1 / 3
    whole_image: bool = True
    canvas: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check("TEST.SLIDING_WINDOW.SIZE", self.size)
        check("TEST.SLIDING_WINDOW.OVERLAP", self.overlap)

    def rows_of_boxes(self, canvas: tuple[int, int]) -> list[list[Box]]:
        """The windows of a canvas, row by row."""
        h, w = (min(pair) for pair in zip(self.size, canvas, strict=True))
        tops, lefts = (
            window_starts(length, side, self.overlap)
            for length, side in zip(canvas, (h, w), strict=True)
        )
        return [[(top, left, h, w) for left in lefts] for top in tops]


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """First pixels of the windows along one side; the last one ends at the border."""
    if window >= length:
        return [0]
    stride = max(int(window * (1 - overlap)), 1)
    return [*range(0, length - window, stride), length - window]


def build_tiles(cfg: CfgNode) -> Tiles | None:
    """Read `TEST.SLIDING_WINDOW.*`; None when off."""
    window = cfg.TEST.SLIDING_WINDOW
    if not window.ENABLED:
        return None
    return Tiles(tuple(window.SIZE), window.OVERLAP, window.WHOLE_IMAGE_ENABLED)


class Windows:
    """Mean of the windows' confidences over a canvas, averaged with the whole image's.

    A window is scored when its rows are first asked for, and forgotten when rows below it are: read
    from above, about one row of windows is held at a time.
    """

    def __init__(
        self,
        size: tuple[int, int],
        boxes: Sequence[Sequence[Box]],
        score: Callable[[Box], Source],
        whole: Source | None = None,
    ) -> None:
        """Keep the parts; nothing is scored yet.

        Args:
            size: (H, W) of the canvas.
            boxes: rows of windows that cover it, see `Tiles.rows_of_boxes`.
            score: source of a window, of the window's size.
            whole: source of the whole image, of the canvas's size.
        """
        self._boxes, self._score, self._whole = boxes, score, whole
        self._held: dict[Box, Source] = {}
        self._first = 0  # row above which windows are forgotten
        self.size = self.grain = size
        probe = whole or next(self._windows((0, 1)))[1]
        self.classes, self.device = probe.classes, probe.device

    def bounds(self, rows: Range, cols: Sequence[Range]) -> tuple[Tensor, Tensor]:
        """See `Source`: a mean lies between the least and the greatest of its parts."""
        shape = (len(cols), self.classes)
        low = torch.full(shape, torch.inf, device=self.device)
        high = torch.full(shape, -torch.inf, device=self.device)
        for (top, left, height, width), source in self._windows(rows):
            own_rows = _overlap(rows, top, height)
            found = [(k, own) for k, x in enumerate(cols) if (own := _overlap(x, left, width))]
            if own_rows is None or not found:
                continue
            places = torch.tensor([k for k, _ in found], device=self.device)
            least, greatest = confidence_bounds(source, own_rows, [own for _, own in found])
            low[places] = torch.minimum(low[places], least)
            high[places] = torch.maximum(high[places], greatest)
        if self._whole is None:
            return low, high
        least, greatest = confidence_bounds(self._whole, rows, cols)
        return (low + least) / 2, (high + greatest) / 2

    def take(self, ids: Tensor, rows: Range, cols: Range) -> Tensor:
        """See `Source`."""
        shape = (rows[1] - rows[0], cols[1] - cols[0])
        total = torch.zeros(len(ids), *shape, device=self.device)
        count = torch.zeros(shape, device=self.device)
        for (top, left, height, width), source in self._windows(rows):
            own_rows, own_cols = _overlap(rows, top, height), _overlap(cols, left, width)
            if own_rows is None or own_cols is None:
                continue
            place = (
                slice(*(y + top - rows[0] for y in own_rows)),
                slice(*(x + left - cols[0] for x in own_cols)),
            )
            total[(..., *place)] += confidences(source, ids, own_rows, own_cols)
            count[place] += 1
        total /= count
        if self._whole is None:
            return total
        return total.add_(confidences(self._whole, ids, rows, cols)).div_(2)

    def scale(self, rows: Range, cols: Range) -> None:
        """They are confidences."""
        del rows, cols

    def below(self, row: int) -> "Windows":
        """See `Source`."""
        self._forget(row)
        return self

    def _windows(self, rows: Range) -> Iterator[tuple[Box, Source]]:
        """The windows that reach into some rows."""
        if rows[0] < self._first:  # read again from above
            self._held, self._first = {}, 0
        for boxes in self._boxes:
            top, _, height, _ = boxes[0]
            if _overlap(rows, top, height) is None:
                continue
            if boxes[0] not in self._held:
                self._forget(rows[0])
            for box in boxes:
                if box not in self._held:
                    self._held[box] = self._score(box)
                yield box, self._held[box]

    def _forget(self, row: int) -> None:
        """Windows above a row, and what only rows above it need of the others."""
        for box in list(self._held):
            if row >= box[0] + box[2]:
                del self._held[box]
            elif row > box[0]:
                self._held[box] = self._held[box].below(row - box[0])
        self._first = max(self._first, row)


class WindowScores:
    """The scores of an image by windows: what `Windows` is for, at any size."""

    def __init__(
        self,
        canvas: tuple[int, int],
        boxes: Sequence[Sequence[Box]],
        score: Callable[[Box], Source],
        whole: Source | None = None,
    ) -> None:
        """See `Windows`."""
        self._parts = (canvas, boxes, score, whole)

    def at(self, size: tuple[int, int]) -> Source:
        """The source of a picture of (H, W) pixels."""
        return Resized(Windows(*self._parts), size)


def _overlap(asked: Range, start: int, length: int) -> Range | None:
    """The part of a range that lies on [start, start + length), counted from `start`."""
    first, last = max(asked[0] - start, 0), min(asked[1] - start, length)
    return (first, last) if first < last else None
