"""Render the small world to a folder. Needs no download; 3500 scenes take about a minute.

The target splits show the same world through another camera; target-train has images only. DIR is
$DETECTRON2_DATASETS/small_world by default. The same flags give the same files; 0 leaves a split
alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from stseg.data import data_root
from stseg.small_world.split_files import SPLITS, check_folder, write_split
from stseg.utils import say

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


def small_world_command(argv: Sequence[str] | None = None, program: str | None = None) -> int:
    """Command line, see `--help`.

    Args:
        argv: flags; those of the process by default.
        program: for messages; the name of the script by default.

    Returns:
        0. Wrong use leaves through `SystemExit(2)`.
    """
    parser = argparse.ArgumentParser(
        program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = data_root() / "small_world"
    parser.add_argument("--out", type=Path, default=default, metavar="DIR", help="(%(default)s)")
    for split in SPLITS:
        parser.add_argument(
            _flag(split),
            type=int,
            default=DEFAULT_COUNTS[split],
            metavar="N",
            help="scenes (default: %(default)s)",
        )
    parser.add_argument("--seed", type=int, default=0, help="0 to 999999; splits stay apart")
    args = parser.parse_args(argv)
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
            where = args.out / "images" / split
            say(f"{split}: {count} scenes in {where}")
    return 0
