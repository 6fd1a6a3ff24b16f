"""Segment a large picture tile by tile; what is in memory grows with its width, not its area.

A network answers for what it sees: the pixels of one tile, brought to its working size. The answer
is that for the whole picture only where a pixel's depends on none further away than half of the
overlap, and on no such scaling. The networks here look at a whole tile at once, so they promise
less: tiles that lie elsewhere give another answer at some pixels, and a thing larger than a tile is
seen in parts. A tile of the size that a network was trained at shows things at the scale it knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from tqdm import tqdm

from stseg.data import ArrayRaster, Raster, Tile, TileGrid, read_image
from stseg.structures import IGNORE_LABEL, Segmentation, Vocabulary
from stseg.tools.prediction.tiling import Tiling
from stseg.utils import say

if TYPE_CHECKING:
    from stseg.predictor import Predictor


class Segmenter(Protocol):
    """What answers for tiles: a `Predictor`."""

    def predict_batch(
        self, images: Sequence[np.ndarray], vocabulary: Vocabulary
    ) -> list[Segmentation]:
        """One answer for each (h, w, 3) uint8 RGB."""
        ...


@dataclass(frozen=True)
class Strip:
    """The answer for some rows of a picture, in its full width.

    Attributes:
        first: row.
        labels: (h, W) int32, -1 where unknown or without data.
        confidence: (h, W) float32 in [0, 1], 0 without data.
        pixels: that hold data.
    """

    first: int
    labels: np.ndarray
    confidence: np.ndarray
    pixels: int


class TiledSegmenter:
    """Walks the tiles of a raster, segments each with what lies around it, and keeps its core."""

    def __init__(self, segmenter: Segmenter, *, batch: int = 1) -> None:
        """Remember who answers, for how many tiles at once."""
        self._segmenter, self._batch = segmenter, batch

    def strips(self, raster: Raster, vocabulary: Vocabulary, grid: TileGrid) -> Iterator[Strip]:
        """The answer from the top, one strip for each row of tiles.

        Tiles without data are not looked at.
        """
        with tqdm(total=len(grid), unit="tile", disable=len(grid) < 2) as bar:
            for row in grid.rows():
                yield self._strip(raster, vocabulary, row, bar)

    def _strip(self, raster: Raster, vocabulary: Vocabulary, row: list[Tile], bar: tqdm) -> Strip:
        first, last = row[0].core_rows
        shape = (last - first, raster.size[1])
        labels = np.full(shape, IGNORE_LABEL, dtype=np.int32)
        confidence = np.zeros(shape, dtype=np.float32)
        pixels = 0
        for start in range(0, len(row), self._batch):
            tiles = row[start : start + self._batch]
            read = [(tile, *raster.read(tile.rows, tile.cols)) for tile in tiles]
            seen = [x for x in read if x[2] is None or x[2][x[0].core].any()]
            images = [image for _, image, _ in seen]
            found = self._segmenter.predict_batch(images, vocabulary) if seen else []
            for (tile, _, valid), result in zip(seen, found, strict=True):
                place = (slice(None), slice(*tile.core_cols))
                inside = np.True_ if valid is None else valid[tile.core]
                labels[place] = np.where(inside, result.label_map[tile.core], IGNORE_LABEL)
                confidence[place] = np.where(inside, result.confidence[tile.core], 0)
                pixels += int(np.broadcast_to(inside, labels[place].shape).sum())
            bar.update(len(tiles))
        return Strip(first, labels, confidence, pixels)


def segment_picture(
    predictor: Predictor, vocabulary: Vocabulary, path: Path, tiling: Tiling, batch: int = 1
) -> Segmentation:
    """A picture that fits into memory, in tiles; the answer of all of it.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is larger than is allowed.
    """
    image = read_image(path)
    raster = ArrayRaster(image)
    labels = np.empty(raster.size, dtype=np.int32)
    confidence = np.empty(raster.size, dtype=np.float32)
    grid = told_grid(raster, path, tiling)
    for strip in TiledSegmenter(predictor, batch=batch).strips(raster, vocabulary, grid):
        rows = slice(strip.first, strip.first + len(strip.labels))
        labels[rows], confidence[rows] = strip.labels, strip.confidence
    return Segmentation(labels, confidence, vocabulary.names, image)


def told_grid(raster: Raster, path: Path, tiling: Tiling) -> TileGrid:
    """The tiles of a picture; their number is said."""
    side = tiling.side_for(raster.size)
    grid = TileGrid(raster.size, side, min(tiling.overlap, side // 2))
    if len(grid) > 1:
        height, width = raster.size
        say(
            f"{path.name}: {height * width / 1e6:.0f} megapixels, seen in {len(grid)} tiles of "
            f"{side} pixels that share {tiling.overlap}; --tile 0 sees it whole"
        )
    return grid
