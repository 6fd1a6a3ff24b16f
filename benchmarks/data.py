"""Speed of preparing data, and of the training mapper beside Detectron2's, in one run.

    prepare   label maps per second from raw COCO-Stuff maps, with 1 and 2 jobs
    loader    images per second through the training mapper at 768 x 768 beside Detectron2's plain
              DatasetMapper with the same augmentations, with and without the change of colours, and
              where our time goes

Images and labels are synthetic, 512 x 683 pixels, or those of `--root`, a data root with raw
COCO-Stuff, met in turn. The two mappers take turns, image by image with the same random numbers,
and must return the same pixels and ids. Beside the wall clock stands CPU time, which other programs
on the machine disturb less.

Example:
    python -m benchmarks.data --images 40 --root datasets --json output/data.json
    python -m benchmarks.data loader --images 100
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.report_file import write_report

WHAT = ("prepare", "loader")


def main(argv: list[str] | None = None) -> dict:
    """Measure, print tables and write them as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", help=f"of {', '.join(WHAT)} (default: all)"
    )
    parser.add_argument("--images", type=int, default=100, help="images per line")
    parser.add_argument("--root", type=Path, help="data root with raw COCO-Stuff")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args(argv)
    if unknown := set(args.what) - set(WHAT):
        parser.error(f"WHAT: expected {', '.join(WHAT)}, got {', '.join(unknown)}.")
    from benchmarks.data_measurements import MEASUREMENTS, real_pairs, synthetic_pairs

    report = {
        "command": ["python", "-m", "benchmarks.data", *argv],
        "cores": os.cpu_count(),
        "images": args.images,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = real_pairs(args.root) if args.root else synthetic_pairs(folder / "pairs")
        for what in args.what or WHAT:
            measure, show = MEASUREMENTS[what]
            report[what] = measure(pairs, args.images, folder)
            show(report[what])
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
