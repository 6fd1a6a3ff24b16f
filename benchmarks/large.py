"""Memory and time of a large GeoTIFF, segmented in tiles by the miniature.

A raster of the wanted size is written that is empty but for some scenes of the small world; empty
parts take no room on the disk, and are segmented like all others. Memory is the largest resident
size of this process, with Python and torch in it; what the model alone holds is told beside it.
What it will take is said first, from the time of one tile.

Example:
    OMP_NUM_THREADS=1 python -m benchmarks.large --size 3000 --json output/large.json
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report_file import markdown_table, origin, write_report

WORDS = "star; kite; grass; sky; sand; water"


def write_raster(path: Path, size: int) -> None:
    """A sparse GeoTIFF of size x size pixels with a scene in every eighth place."""
    import rasterio
    from rasterio.windows import Window

    from stseg.small_world import SPLIT_SEEDS, render

    scene = render(SPLIT_SEEDS["val"], 0).image.transpose(2, 0, 1)
    side = scene.shape[1]
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=size, width=size, dtype="uint8", tiled=True,
        compress="deflate", sparse_ok=True, photometric="rgb", crs="EPSG:32633",
        transform=rasterio.transform.from_origin(500_000, 5_300_000, 0.2, 0.2),
    ) as file:  # fmt: skip
        for top in range(0, size - side + 1, 8 * side):
            for left in range(0, size - side + 1, 8 * side):
                file.write(scene, window=Window(left, top, side, side))


def peak_mib() -> float:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << (20 if sys.platform == "darwin" else 10))


def measure(args: argparse.Namespace, folder: Path) -> dict:
    """The figures."""
    from stseg import Predictor, Vocabulary
    from stseg.data import TileGrid
    from stseg.tools.prediction import Tiling, segment_raster

    vocabulary = Vocabulary.parse(args.names)
    predictor = Predictor("stseg_mini", device=args.device)
    blank = np.zeros((min(args.tile, args.size),) * 2 + (3,), dtype=np.uint8)
    predictor(blank, vocabulary)  # what is made once
    start = time.perf_counter()
    predictor(blank, vocabulary)
    one, before = time.perf_counter() - start, peak_mib()
    tiles = len(TileGrid((args.size, args.size), args.tile, args.overlap))
    print(f"{tiles} tiles of {one:.2f} s: about {tiles * one / 60:.1f} min", flush=True)
    source = folder / "large.tif"
    write_raster(source, args.size)
    start = time.perf_counter()
    segment_raster(
        predictor, vocabulary, source, (folder / "out", "large"), kinds=args.save.split(","),
        tiling=Tiling(args.tile, args.overlap),
    )  # fmt: skip
    return {
        "size": args.size,
        "tile": args.tile,
        "overlap": args.overlap,
        "tiles": tiles,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mib": round(peak_mib()),
        "peak_mib_of_one_tile": round(before),
        "written_mib": round(sum(p.stat().st_size for p in (folder / "out").iterdir()) / 2**20, 2),
    }


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=3000, help="side of the raster in pixels")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--overlap", type=int, default=128)
    parser.add_argument("--names", default=WORDS)
    parser.add_argument("--save", default="labels,json,overlay,confidence")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args, Path(folder))
    print("\n" + markdown_table(list(figures), [list(figures.values())]))
    report = {**origin("benchmarks.large", argv), **figures}
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
