"""Segment a GeoTIFF into GeoTIFFs of labels and confidences that lie where it lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stseg.data import GeoRaster, open_label_raster, open_raster
from stseg.render import (
    UNKNOWN_COLOUR,
    ClassCounts,
    check_names,
    class_colours,
    draw_overlay,
    label_encoding,
    named_overlay,
    picture_bytes,
    table_bytes,
)
from stseg.structures import IGNORE_LABEL, Vocabulary
from stseg.tools.prediction.tiled import Strip, TiledSegmenter, told_grid
from stseg.tools.prediction.tiling import Tiling
from stseg.utils import write_atomically

if TYPE_CHECKING:
    from stseg.predictor import Predictor

#: Longer side of the pictures of an answer; those of a raster would be read by no viewer.
PICTURE_SIDE = 2048
_PICTURES: dict[str, Callable[..., np.ndarray]] = {
    "overlay": named_overlay,
    "legend": draw_overlay,
}


def segment_raster(
    predictor: Predictor,
    vocabulary: Vocabulary,
    path: Path,
    place: tuple[Path, str],
    *,
    kinds: Sequence[str] = ("labels", "json"),
    tiling: Tiling | None = None,
    batch: int = 1,
) -> tuple[ClassCounts, float]:
    """A GeoTIFF by windows, its answer as GeoTIFF where it lies.

    Files are those of `Segmentation.save`, but for `<stem>.tif` and `<stem>_confidence.tif` in the
    place of PNGs, with CRS and transform of the source; unknown, and what has no data in the
    source, is "no data" in the labels. Pictures are reduced to `PICTURE_SIDE`.

    Args:
        predictor: answers.
        vocabulary: with its background policy.
        path: of the raster.
        place: folder and stem of the files.
        kinds: of `Segmentation.save`.
        tiling: tiles, bands and values.
        batch: tiles at once.

    Returns:
        What was counted, and the mean confidence where there is data (0 without any).

    Raises:
        ImportError: without rasterio.
        OSError: if the file cannot be read, or a file is there that is not ours.
        ValueError: if bands or values are not said.
    """
    tiling = tiling or Tiling()
    with open_raster(path, tiling.rule) as raster:
        files = _Files(raster, *place, vocabulary.names, tuple(kinds))
        files.check()
        counts, surely, pixels = ClassCounts(vocabulary.names), 0.0, 0
        step = max(1, -(-max(raster.size) // PICTURE_SIDE))
        reduced = []
        walk = TiledSegmenter(predictor, batch=batch)
        with ExitStack() as stack:
            write = files.open(stack)
            for strip in walk.strips(raster, vocabulary, told_grid(raster, path, tiling)):
                write(strip)
                counts.add(strip.labels, strip.confidence)
                surely += float(strip.confidence.sum(dtype=np.float64))
                pixels += strip.pixels
                reduced.append(strip.labels[-strip.first % step :: step, ::step].copy())
        files.write_pictures(np.concatenate(reduced), step)
        files.write_table(counts)  # last: it says that the others are there
    return counts, surely / max(pixels, 1)


@dataclass(frozen=True)
class _Files:
    """What is written about one raster."""

    raster: GeoRaster
    folder: Path
    stem: str
    names: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def labels(self) -> str:
        return f"{self.stem}.tif" if {"labels", "json"} & set(self.kinds) else ""

    @property
    def confidence(self) -> str:
        return f"{self.stem}_confidence.tif" if "confidence" in self.kinds else ""

    @property
    def pictures(self) -> dict[str, str]:
        """Names of files by kind."""
        return {kind: f"{self.stem}_{kind}.jpg" for kind in _PICTURES if kind in self.kinds}

    def check(self) -> None:
        """Refuse to write over what no segmentation left, before anything is done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = [self.labels, self.confidence, *self.pictures.values()]
        check_names(self.folder, self.stem, [name for name in wanted if name])

    def open(self, stack: ExitStack) -> Callable[[Strip], None]:
        """What writes strips; the files are complete when the stack is left without an error."""
        bits, unknown = label_encoding(len(self.names))
        dtype = np.uint8 if bits == 8 else np.uint16
        labels = confidence = None
        if self.labels:
            colours = None
            if bits == 8:
                colours = np.full((256, 3), UNKNOWN_COLOUR, dtype=np.uint8)
                colours[: len(self.names)] = class_colours(self.names)
            labels = stack.enter_context(open_label_raster(
                self.folder / self.labels, self.raster, bits=bits, nodata=unknown, colours=colours
            ))  # fmt: skip
        if self.confidence:
            confidence = stack.enter_context(open_label_raster(
                self.folder / self.confidence, self.raster, bits=8, nodata=None
            ))  # fmt: skip

        def write(strip: Strip) -> None:
            if labels is not None:
                known = strip.labels != IGNORE_LABEL
                labels.write(np.where(known, strip.labels, unknown).astype(dtype))
            if confidence is not None:
                confidence.write((255 * strip.confidence).round().astype(np.uint8))

        return write

    def write_pictures(self, labels: np.ndarray, step: int) -> None:
        """Overlay and legend, of every step-th pixel."""
        image = self.raster.reduced(step) if self.pictures else None
        for kind, name in self.pictures.items():
            picture = picture_bytes(_PICTURES[kind](image, labels, self.names))
            write_atomically(self.folder / name, picture)

    def write_table(self, counts: ClassCounts) -> None:
        """The JSON: as of other pictures, and where it lies."""
        if not self.labels:
            return
        table = counts.table(self.raster.size, self.labels, self.confidence or None)
        crs, transform = (self.raster.place.get(key) for key in ("crs", "transform"))
        table["crs"] = None if crs is None else crs.to_string()
        table["transform"] = None if transform is None else list(transform)[:6]
        write_atomically(self.folder / f"{self.stem}.json", table_bytes(table))
