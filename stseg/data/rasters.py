"""Large pictures that are read by windows: GeoTIFF through rasterio, and arrays likewise.

rasterio (GDAL) is the extra `stseg[geo]`; what needs it says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stseg.data.band_rules import BandRule, as_eight_bits
from stseg.data.opening import BrokenFileError, tell_once
from stseg.data.pixel_values import orientation_of
from stseg.data.tile_grid import Range
from stseg.render import open_any_size
from stseg.utils import irregular_kind, is_installed

if TYPE_CHECKING:
    import rasterio

RASTER_SUFFIXES = (".tif", ".tiff")
#: Of GDAL, in MB: its own would be a share of the machine's memory.
_CACHE = 256
#: TIFF tags of coordinates: pixel scale, tie points, transformation, keys (GeoTIFF 1.1, 7.1).
_GEO_TAGS = (33550, 33922, 34264, 34735)
_SAMPLE_SIDE = 1024


class Raster(Protocol):
    """A picture that is read in parts."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        ...

    def read(self, rows: Range, cols: Range) -> tuple[np.ndarray, np.ndarray | None]:
        """(h, w, 3) uint8 RGB, and (h, w) bool where it holds data; None where all of it does."""
        ...


class ArrayRaster:
    """A picture in memory."""

    def __init__(self, pixels: np.ndarray) -> None:
        """Keep (H, W, 3) uint8 RGB."""
        self.pixels = pixels

    @property
    def size(self) -> tuple[int, int]:
        """See `Raster`."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def read(self, rows: Range, cols: Range) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Raster`."""
        return np.ascontiguousarray(self.pixels[slice(*rows), slice(*cols)]), None


@dataclass(frozen=True)
class RasterFacts:
    """What the header of a TIFF says.

    Attributes:
        size: (height, width) in pixels, as stored.
        has_coordinates: whether it says where on earth it lies.
        bands: their number; 0 where Pillow, in rasterio's place, cannot tell.
        is_turned: by an EXIF orientation, which GDAL does not know.
    """

    size: tuple[int, int]
    has_coordinates: bool
    bands: int
    is_turned: bool


def raster_facts(path: Path) -> RasterFacts | None:
    """Look at the header of a TIFF; None for other files, and for those that cannot be read."""
    if path.suffix.lower() not in RASTER_SUFFIXES or irregular_kind(path):
        return None
    turned, tags, size = False, False, None
    try:
        with open_any_size(path) as image:
            keys: Any = getattr(image, "tag_v2", {})
            tags, size = any(tag in keys for tag in _GEO_TAGS), (image.height, image.width)
            turned = orientation_of(image) != 1
    except (OSError, SyntaxError, ValueError):  # Pillow knows few kinds of bands
        pass
    if is_installed("rasterio"):
        with gdal() as rasterio:
            try:
                with rasterio.open(path) as file:
                    return RasterFacts(file.shape, tags or _is_placed(file), file.count, turned)
            except rasterio.errors.RasterioIOError:
                return None
    return None if size is None else RasterFacts(size, tags, 0, turned)


def _is_placed(file: rasterio.DatasetReader) -> bool:
    return file.crs is not None or not file.transform.is_identity or bool(file.gcps[0])


class GeoRaster:
    """A file that rasterio has open, see `open_raster`."""

    def __init__(self, file: rasterio.DatasetReader, path: Path, rule: BandRule) -> None:
        """Choose bands and values once for the whole file.

        Raises:
            ValueError: if the rule does not fit the file.
        """
        self._file, self._path = file, path
        colours = [colour.name for colour in file.colorinterp]
        self.bands = rule.chosen(path, colours)
        self._palette = _palette(file) if colours[self.bands[0] - 1] == "palette" else None
        dtype = np.result_type(*(file.dtypes[band - 1] for band in self.bands))
        self.limits = rule.limits(dtype, self._sample)
        if self.limits != (0, 255):
            tell_once(
                f"values {self.limits}",
                f"Image {path}: values are seen from {self.limits[0]:g} (black) to "
                f"{self.limits[1]:g} (white); --values says it otherwise.",
            )

    @property
    def size(self) -> tuple[int, int]:
        """See `Raster`."""
        return self._file.shape

    @property
    def place(self) -> dict[str, Any]:
        """Its coordinates, as rasterio takes them for a file of the same size."""
        points, points_crs = self._file.gcps
        if points and self._file.crs is None:
            return {"gcps": points, "crs": points_crs}
        return {"crs": self._file.crs, "transform": self._file.transform}

    def read(self, rows: Range, cols: Range) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Raster`; pixels without data are black.

        Raises:
            BrokenFileError: if a part cannot be decoded; names the file.
        """
        from rasterio.windows import Window

        window = Window.from_slices(rows, cols)
        with _named(self._path):
            values = self._file.read(self.bands, window=window)
            valid = self._file.dataset_mask(window=window) > 0
        pixels = self._rgb(values)
        if valid.all():
            return pixels, None
        pixels[~valid] = 0
        return pixels, valid

    def reduced(self, step: int) -> np.ndarray:
        """Every step-th row and column, (H', W', 3) uint8 RGB, of means over what lies between."""
        from rasterio.enums import Resampling

        shape = [-(-side // step) for side in self.size]
        way = Resampling.average if self._palette is None else Resampling.nearest
        with _named(self._path):
            values = self._file.read(
                self.bands, out_shape=(len(self.bands), *shape), resampling=way
            )
        return self._rgb(values)

    def _rgb(self, values: np.ndarray) -> np.ndarray:
        """(1 or 3, h, w) of any type to (h, w, 3) uint8."""
        if self._palette is not None:
            return self._palette[values[0]]
        pixels = as_eight_bits(values, self.limits)
        return np.ascontiguousarray(
            np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)
        )

    def _sample(self) -> np.ndarray:
        """Valid values from all over the file."""
        shape = [min(side, _SAMPLE_SIDE) for side in self.size]
        with _named(self._path):
            out = (len(self.bands), *shape)
            return self._file.read(self.bands, out_shape=out, masked=True).compressed()


def _palette(file: rasterio.DatasetReader) -> np.ndarray:
    """(256, 3) uint8, or as many as 16 bits have."""
    table = np.zeros((256 if file.dtypes[0] == "uint8" else 1 << 16, 3), dtype=np.uint8)
    for value, colour in file.colormap(1).items():
        table[value] = colour[:3]
    return table


@contextmanager
def open_raster(path: Path, rule: BandRule | None = None) -> Iterator[GeoRaster]:
    """A GeoTIFF, or what else rasterio reads, open to be read by windows.

    Raises:
        ImportError: without rasterio; says how to get it.
        BrokenFileError: if it is missing or no raster; names it.
        ValueError: if the rule does not fit the file.
    """
    require_rasterio(f"Image {path}")
    kind = irregular_kind(path)
    if kind:  # opening a pipe would wait for ever
        raise BrokenFileError(f"Image {path}: expected a file, got {kind}. Take it out.")
    with gdal() as rasterio:
        with _named(path):
            file = rasterio.open(path)
        with file:
            yield GeoRaster(file, path, rule or BandRule())


def require_rasterio(who: str) -> None:
    """Say how to get rasterio where it is missing.

    Args:
        who: needs it, for the message.

    Raises:
        ImportError: if it is not installed.
    """
    if not is_installed("rasterio"):
        raise ImportError(
            f"{who}: expected rasterio, which reads and writes coordinates and parts of large "
            "TIFFs, got none. Install it: pip install 'stseg[geo]'. Or give --tile 0, which sees "
            "the pixels whole, without coordinates."
        )


@contextmanager
def gdal() -> Iterator[Any]:
    """The module rasterio, with a cache that does not grow with the machine's memory."""
    import rasterio
    import rasterio.errors

    with warnings.catch_warnings():
        # A picture may lie nowhere.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.Env(GDAL_CACHEMAX=_CACHE):
            yield rasterio


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which file cannot be read."""
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        raise BrokenFileError(
            f"Image {path}: expected a complete raster, got one that cannot be decoded "
            f"({error.__cause__ or error}). Put a whole copy in its place, or take it out."
        ) from error
