"""GeoTIFFs that are written from the top, strip by strip, where another raster lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stseg.data.rasters import GeoRaster, gdal

#: Side of a block of the file in pixels: each is compressed by itself, and written once.
_BLOCK = 512


class LabelRaster:
    """One band of one or two bytes; see `open_label_raster`."""

    def __init__(self, file: Any) -> None:
        """Begin at the top of a file that rasterio has open for writing."""
        self._file = file
        self._first = 0
        self._waiting = np.empty((0, file.width), dtype=file.dtypes[0])

    def write(self, rows: np.ndarray) -> None:
        """Append rows; those that fill no blocks yet wait in memory.

        Args:
            rows: (h, W) of the file's type, below those that came before.
        """
        rows = np.concatenate([self._waiting, rows]) if len(self._waiting) else rows
        whole = len(rows) // _BLOCK * _BLOCK
        if self._first + len(rows) == self._file.height:
            whole = len(rows)
        if whole:
            from rasterio.windows import Window

            window = Window(0, self._first, self._file.width, whole)
            self._file.write(rows[:whole], 1, window=window)
        self._first += whole
        self._waiting = rows[whole:].copy()


@contextmanager
def open_label_raster(
    path: Path, like: GeoRaster, *, bits: int, nodata: int | None, colours: np.ndarray | None = None
) -> Iterator[LabelRaster]:
    """A compressed GeoTIFF in blocks, which appears under its name when it is complete.

    Args:
        path: of the file; replaced if it is there.
        like: gives size, CRS and transform (or ground control points).
        bits: 8 or 16.
        nodata: the value that stands for none; None declares none.
        colours: (N, 3) uint8 of the values from 0 on, for programs that show the file; 8 bits only.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with gdal() as rasterio:
            height, width = like.size
            with rasterio.open(
                temporary, "w", driver="GTiff", height=height, width=width, count=1,
                dtype=f"uint{bits}", nodata=nodata, tiled=True, blockxsize=_BLOCK,
                blockysize=_BLOCK, compress="deflate", bigtiff="if_safer", **like.place,
            ) as file:  # fmt: skip
                file.update_tags(TIFFTAG_SOFTWARE="stseg")
                if colours is not None and bits == 8:
                    file.write_colormap(1, {i: (*map(int, c), 255) for i, c in enumerate(colours)})
                yield LabelRaster(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
