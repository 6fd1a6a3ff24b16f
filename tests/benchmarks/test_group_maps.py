"""Pictures of groups."""

import numpy as np

from benchmarks.group_maps import group_map, in_a_grid


def test_a_pixel_has_the_greatest_of_the_resized_shares():
    shares = np.zeros((3, 2, 2), np.float32)
    shares[2, 0, 0] = shares[1, 0, 1] = shares[0, 1] = 1
    found = group_map(shares, (8, 8))
    assert (found[0, 0], found[0, -1]) == (2, 1) and (found[-1] == 0).all()


def test_pictures_stand_in_rows_with_white_between():
    black = np.zeros((5, 7, 3), np.uint8)
    grid = in_a_grid([[black, black], [black, black]])
    assert grid.shape == (5 + 4 + 5, 7 + 4 + 7, 3)
    assert grid[:5, :7].max() == 0 and grid[5:9].min() == 255 and grid[:, 7:11].min() == 255
