r"""Render the small world to a folder. Needs no download; 3500 scenes take about a minute.

    python datasets/prepare_scripts/prepare_small_world.py --out DIR --train N --dev N --val N \
        --target-train N --target-dev N --target-val N

The target splits show the same world through another camera; target-train has images only. DIR is
$DETECTRON2_DATASETS/small_world by default. The same flags give the same files; 0 leaves a split
alone.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stseg.small_world import SPLITS, check_folder, write_split  # noqa: E402

DEFAULT_COUNTS = {
    "train": 2000,
    "dev": 200,
    "val": 400,
    "target_train": 600,
    "target_dev": 100,
    "target_val": 200,
}


def _flag(split: str) -> str:
    return f"--{split.replace('_', '-')}"


def main() -> None:
    """Parse the flags and write the splits."""
    root = Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=root / "small_world")
    for split in SPLITS:
        parser.add_argument(
            _flag(split),
            type=int,
            default=DEFAULT_COUNTS[split],
            metavar="N",
            help="scenes (default: %(default)s)",
        )
    parser.add_argument("--seed", type=int, default=0, help="0 to 999999; splits stay apart")
    args = parser.parse_args()
    try:
        check_folder(args.out)
    except ValueError as error:
        parser.error(str(error))
    for split in SPLITS:
        count = getattr(args, split)
        if count < 0:
            parser.error(f"{_flag(split)}: expected a number of scenes from 0, got {count}.")
        if count:
            write_split(args.out, split, count, args.seed)
            print(f"{split}: {count} scenes in {args.out / 'images' / split}")


if __name__ == "__main__":
    main()
