"""What benchmarks share that compare rows of runs in the small world: flags, data, the table.

Settings are chosen by --dev, and val is read once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ablation import prepare_data, run_all, without_nan
from benchmarks.ablation_runs import ROOT, Plan, Row, Run
from benchmarks.run_flags import add_jobs, threads_of
from stseg.utils import write_atomically

#: Pictures by split.
SCENES = {"train": 2000, "dev": 200, "val": 400}


def add_run_flags(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add --iters, --dev, --data, --out and --jobs.

    Args:
        parser: of the benchmark.
        folder: below output/, the default of --out.
    """
    add = parser.add_argument
    add("--iters", type=int, help="of a run (default: the config's)")
    add("--dev", action="store_true", help="figures of the split that settings are chosen by")
    add("--data", type=Path, metavar="DIR", help="data root with small_world, made if it is not"
        " there (default: OUT/datasets)")  # fmt: skip
    add("--out", type=Path, default=ROOT / "output" / folder, metavar="DIR")
    add_jobs(parser)


def plan_of(
    args: argparse.Namespace, rows: Mapping[str, Row], stage2: tuple[str, ...] = ()
) -> Plan:
    """Settings of all runs from the flags.

    Args:
        args: of `add_run_flags`.
        rows: by name.
        stage2: keys and values for rows of stage 2.
    """
    data = args.data or args.out / "datasets"
    return Plan(
        out=args.out.resolve(),
        data=data.expanduser().resolve(),
        dataset=f"small_world_{'dev' if args.dev else 'val'}_sem_seg",
        threads=threads_of(args.jobs),
        stage1=("SOLVER.MAX_ITER", str(args.iters)) if args.iters else (),
        stage2=stage2,
        rows=rows,
    )


def carry_out(
    name: str,
    runs: Sequence[Run],
    plan: Plan,
    jobs: int,
    scenes: Mapping[str, int] = SCENES,
) -> None:
    """Claim, prepare and run; what goes wrong ends the program with a message."""
    try:
        for run in runs:
            run.claim()
        prepare_data(plan.data, scenes)
        run_all(runs, jobs)
    except (FileNotFoundError, KeyError, ValueError, RuntimeError) as error:
        sys.exit(f"{name}: {error.args[0]}")


def write_table(plan: Plan, is_dev: bool, content: Mapping[str, Any]) -> Path:
    """Write table_dev.json or table_val.json into the folder of the runs."""
    path = plan.out / f"table_{'dev' if is_dev else 'val'}.json"
    write_atomically(path, (json.dumps(without_nan(content), indent=1) + "\n").encode())
    return path
