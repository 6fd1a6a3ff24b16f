"""Which pictures are segmented in tiles, and how large these are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stseg.data import BandRule, check_tiling, image_size, raster_facts, require_rasterio
from stseg.utils import is_installed

#: Pixels from which on "auto" takes tiles: a whole answer would have twelve bytes for each.
AUTO_PIXELS = 64_000_000
SIDE = 1024
#: What `Tiling.way_of` answers.
WHOLE, ARRAY, RASTER = "whole", "array", "raster"


@dataclass(frozen=True)
class Tiling:
    """What a person has said about large pictures.

    Attributes:
        side: of a tile in pixels; None takes tiles of `SIDE` where there are more than
            `AUTO_PIXELS`; 0 sees every picture whole, and its pixels alone.
        overlap: pixels that neighbouring tiles share at least, see `TileGrid`.
        rule: bands and values of rasters.
    """

    side: int | None = None
    overlap: int = SIDE // 8
    rule: BandRule = BandRule()

    @classmethod
    def parse(cls, tile: str, overlap: int | None, rule: BandRule) -> Tiling:
        """Read `--tile` and `--overlap`, an eighth of a tile where it is not given.

        Raises:
            ValueError: names the flag and what it takes.
        """
        if tile != "auto" and not tile.isdecimal():
            raise ValueError(
                f"--tile: expected a number of pixels, 0 for whole pictures, or auto, got {tile!r}."
            )
        side = None if tile == "auto" else int(tile)
        overlap = (side or SIDE) // 8 if overlap is None else overlap
        if side != 0:
            check_tiling(side or SIDE, overlap)
        elif rule != BandRule():
            raise ValueError("--bands, --values: expected no --tile 0 with them, got it.")
        return cls(side, overlap, rule)

    def check_extra(self, paths: Sequence[Path]) -> None:
        """Refuse flags about rasters where nothing reads them.

        Raises:
            ImportError: says what to install.
        """
        if self.rule != BandRule() and any(_is_tiff(path) for path in paths):
            require_rasterio("--bands, --values")

    def way_of(self, path: Path) -> str:
        """How a picture is segmented.

        Returns:
            `RASTER`: a TIFF with coordinates, with more than four bands, or about which --bands or
            --values are said, and a large one: read by windows, written as GeoTIFF.
            `ARRAY`: another one that is large: in tiles, and written as others.
            `WHOLE`: all others.

        Raises:
            OSError: if it cannot be read.
        """
        if self.side == 0:
            return WHOLE
        facts = raster_facts(path)
        if facts is not None:
            is_large = self.is_large(facts.size) and not facts.is_turned
            if facts.has_coordinates or facts.bands > 4 or self.rule != BandRule():
                return RASTER
            if is_large and is_installed("rasterio"):
                return RASTER
        return ARRAY if self.is_large(image_size(path)) else WHOLE

    def is_large(self, size: tuple[int, int]) -> bool:
        """Whether a picture of (height, width) pixels has more than one tile."""
        if self.side is None:
            return size[0] * size[1] > AUTO_PIXELS
        return max(size) > self.side > 0

    def side_for(self, size: tuple[int, int]) -> int:
        """Side of a tile in pixels: one tile where the picture is not large."""
        if not self.is_large(size):
            return max(*size, 16)
        return self.side or SIDE


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in (".tif", ".tiff")
