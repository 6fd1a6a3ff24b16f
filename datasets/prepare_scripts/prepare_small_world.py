"""Render the small world to a folder. Needs no download; 2600 scenes take under a minute.

    python datasets/prepare_scripts/prepare_small_world.py --out DIR --train N --dev N --val N

DIR is $DETECTRON2_DATASETS/small_world by default. The same flags give the same files.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stseg.data.small_world.export import write_split  # noqa: E402


def main() -> None:
    """Parse the flags and write the splits."""
    root = Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=root / "small_world")
    for split, count in (("train", 2000), ("dev", 200), ("val", 400)):
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="0 to 999999; splits stay apart")
    args = parser.parse_args()
    counts = {split: getattr(args, split) for split in ("train", "dev", "val")}
    for split, count in counts.items():
        if count < 0:
            parser.error(f"--{split}: expected a number of scenes from 0, got {count}.")
        if count:
            write_split(args.out, split, count, args.seed)
            print(f"{split}: {count} scenes in {args.out / 'images' / split}")


if __name__ == "__main__":
    main()
