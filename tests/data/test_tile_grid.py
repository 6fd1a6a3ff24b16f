import numpy as np
import pytest

from stseg.data import TileGrid, check_tiling


@pytest.mark.parametrize(
    ("size", "side", "overlap"), [((100, 333), 64, 16), ((64, 65), 64, 32), ((20, 500), 64, 0)]
)
def test_cores_part_the_picture_and_tiles_share_what_is_asked(size, side, overlap):
    grid = TileGrid(size, side, overlap)
    tiles = [tile for row in grid.rows() for tile in row]
    seen = np.zeros(size, dtype=int)
    for tile in tiles:
        assert {b - a for a, b in (tile.rows, tile.cols)} <= {side, min(side, size[0])}
        seen[slice(*tile.core_rows), slice(*tile.core_cols)] += 1
        rows = np.arange(*tile.rows)[tile.core[0]]
        assert (rows[0], rows[-1] + 1) == tile.core_rows
        for (first, last), (start, stop), length in zip(
            (tile.rows, tile.cols), (tile.core_rows, tile.core_cols), size, strict=True
        ):
            assert first == 0 or start - first >= overlap // 2
            assert last == length or last - stop >= overlap // 2
    assert (seen == 1).all() and len(tiles) == len(grid)


def test_a_picture_smaller_than_a_tile_is_one_tile():
    (row,) = TileGrid((30, 40), 64, 16).rows()
    (tile,) = row
    assert tile.rows == tile.core_rows == (0, 30) and tile.cols == tile.core_cols == (0, 40)


@pytest.mark.parametrize(("side", "overlap", "flag"), [(8, 0, "--tile"), (64, 33, "--overlap")])
def test_tiles_that_are_none_are_refused(side, overlap, flag):
    with pytest.raises(ValueError, match=f"{flag}: expected"):
        check_tiling(side, overlap)
