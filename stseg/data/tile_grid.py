"""Where the tiles of a large picture lie. NumPy is not needed for it.

Each tile is seen whole, and of its answer the core is kept: what lies nearer to it than to its
neighbours. Cores part the picture: every pixel is in exactly one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Range = tuple[int, int]  # first pixel, and the one after the last


@dataclass(frozen=True)
class Tile:
    """One tile, in pixels of the picture.

    Attributes:
        rows: that are seen.
        cols: likewise.
        core_rows: of them, those whose answer is kept.
        core_cols: likewise.
    """

    rows: Range
    cols: Range
    core_rows: Range
    core_cols: Range

    @property
    def core(self) -> tuple[slice, slice]:
        """The core's place in the tile."""
        top, left = self.rows[0], self.cols[0]
        (first, last), (start, stop) = self.core_rows, self.core_cols
        return slice(first - top, last - top), slice(start - left, stop - left)


@dataclass(frozen=True)
class TileGrid:
    """Tiles of one size over a picture, evenly spread.

    Attributes:
        size: (height, width) of the picture in pixels.
        side: of a tile in pixels; a shorter side of the picture is seen whole.
        overlap: pixels that neighbours share at least; each keeps its half of them, so that every
            pixel that is kept has `overlap // 2` pixels around it that were seen with it, but for
            those at the border of the picture.
    """

    size: tuple[int, int]
    side: int
    overlap: int

    def __post_init__(self) -> None:
        check_tiling(self.side, self.overlap)

    def rows(self) -> Iterator[list[Tile]]:
        """From the top, each from the left."""
        across = list(_parts(self.size[1], self.side, self.overlap))
        for rows, core_rows in _parts(self.size[0], self.side, self.overlap):
            yield [Tile(rows, cols, core_rows, core_cols) for cols, core_cols in across]

    def __len__(self) -> int:
        """Number of tiles."""
        down, across = (len(_starts(length, self.side, self.overlap)) for length in self.size)
        return down * across


def check_tiling(side: int, overlap: int) -> None:
    """Refuse tiles that are no tiles, or share more than half of themselves.

    Raises:
        ValueError: names the flag.
    """
    if side < 16:
        raise ValueError(f"--tile: expected a side of at least 16 pixels, got {side}.")
    if not 0 <= overlap <= side // 2:
        raise ValueError(
            f"--overlap: expected 0 to {side // 2} pixels, half of --tile {side}, got {overlap}."
        )


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """First pixels of the tiles along one side; the last one ends at the border."""
    if length <= side:
        return [0]
    count = -(-(length - overlap) // (side - overlap))
    return [i * (length - side) // (count - 1) for i in range(count)]


def _parts(length: int, side: int, overlap: int) -> Iterator[tuple[Range, Range]]:
    """What is seen and what is kept along one side; cuts lie in the middle of what is shared."""
    starts = _starts(length, side, overlap)
    ends = [min(start + side, length) for start in starts]
    middles = [(a + b) // 2 for a, b in zip(ends, starts[1:], strict=False)]
    cuts = [0, *middles, length]
    for i, seen in enumerate(zip(starts, ends, strict=True)):
        yield seen, (cuts[i], cuts[i + 1])
