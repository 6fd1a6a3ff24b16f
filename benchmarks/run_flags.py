"""Flags of benchmarks that train several runs side by side, and what follows from them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add --jobs, how many runs go at a time."""
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(2, os.cpu_count() or 1),
        help="runs at a time, which share the cores (default: %(default)s)",
    )


def check_counts(
    parser: argparse.ArgumentParser, args: argparse.Namespace, names: Sequence[str]
) -> None:
    """End the program with a message if one of some numbers, where given, is below 1."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')}: expected 1 or more, got {value}.")


def check_named(parser: argparse.ArgumentParser, *folders: Path) -> None:
    """End the program with a message if a data set's folder lacks its names.json."""
    for folder in folders:
        if not (folder / "names.json").is_file():
            parser.error(f"{folder}: expected a folder with names.json, got none there.")


def threads_of(jobs: int) -> int:
    """Threads of each run: OMP_NUM_THREADS, or its share of the cores."""
    return int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // jobs))
