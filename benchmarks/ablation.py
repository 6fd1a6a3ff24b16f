"""The paper's ablation (Table 2) in miniature: baseline, + DEA, + ST and both, over seeds.

    python -m benchmarks.ablation              the four rows, figures on target_val
    python -m benchmarks.ablation --dev --rows st dea_st --variant low_gate \
        SELF_TRAINING.GATE.THRESH 0.8          try a setting of stage 2 on target_dev
    python -m benchmarks.ablation --dev --cells 16 --scenes 160 --extra-seeds 3 \
        --rows dea dea_zeroed dea_gate         what helps DEA, in stage 1 alone

Stage 1 learns from masks of 22 classes of the small world; stage 2 adapts to the target domain, the
same world through another camera, from images and all 31 names. Every figure is mIoU in percent on
scenes of the target domain, every difference one of runs of the same seed. Finished runs are kept
and an interrupted one resumes, so the same command goes on after a stop; what is left to do is told
first. Settings are chosen with --dev and committed; the table that counts uses target_val.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from benchmarks.ablation_rows import (
    BASELINE,
    CELLS,
    PAPER_ROWS,
    ROWS,
    comparisons,
    minutes,
    with_requirements,
)
from benchmarks.ablation_runs import ROOT, Plan, Run
from benchmarks.ablation_table import (
    markdown,
    paired,
    paired_markdown,
    read_figures,
    summarise,
)
from benchmarks.run_flags import add_jobs, check_counts, threads_of
from stseg.utils import write_atomically

# So short a training must not begin with every class half likely: in one of three seeds the last
# ReLU of the decoder then let no probability pass 0.52, and no class the gate of stage 2.
STAGE1_START = ("MODEL.SEM_SEG_HEAD.PRIOR_PROB", "0.03")
SCENES = {"train": 2000, "target_train": 300, "target_dev": 100, "target_val": 150}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line; a bad flag ends the program with a message."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--rows",
        nargs="+",
        choices=list(ROWS),
        default=list(PAPER_ROWS),
        metavar="ROW",
        help=f"out of {', '.join(ROWS)}; what they start from is added (default: the paper's four)",
    )
    add("--seeds", type=int, default=3, help="how many, from 0 (default: %(default)s)")
    add("--extra-seeds", type=int, default=1, metavar="N", help="of the rows that are not the"
        " paper's (default: %(default)s)")  # fmt: skip
    add("--out", type=Path, default=ROOT / "output" / "ablation", metavar="DIR")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="data root with exactly these scenes (default: datasets in --out)",
    )
    add("--dev", action="store_true", help="evaluate on target_dev, to choose settings")
    add(
        "--cells",
        type=int,
        choices=CELLS,
        default=CELLS[0],
        metavar="N",
        help="N x N cells of"
        f" the map that DEA mixes, {' or '.join(map(str, CELLS))}: scenes are enlarged to 16 N"
        " pixels a side (default: %(default)s)",
    )
    add(
        "--scenes",
        type=int,
        default=SCENES["train"],
        metavar="N",
        help="scenes that stage 1 learns from (default: %(default)s)",
    )
    add("--stage1-iters", type=int, default=200, help="(default: %(default)s)")
    add("--rounds", type=int, help="of stage 2 (default: the config's)")
    add("--round-iters", type=int, help="(default: the config's)")
    add_jobs(parser)
    add("--variant", default="", help="name for runs of stage 2 with KEY VALUE; --dev only")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys of stage 2")
    args = parser.parse_args(argv)  # fmt: skip
    counts = ("seeds", "extra_seeds", "scenes", "stage1_iters", "rounds", "round_iters", "jobs")
    check_counts(parser, args, counts)
    if len(args.opts) % 2:
        parser.error(f"KEY VALUE: expected pairs after all flags, got {args.opts}.")
    if bool(args.opts) != bool(args.variant):
        parser.error("--variant: expected together with KEY VALUE, got one without the other.")
    if args.variant and not args.dev:
        parser.error("--variant: expected together with --dev, where settings are chosen.")
    return args


def build_plan(args: argparse.Namespace) -> Plan:
    """Settings of all runs from the flags."""
    split = "dev" if args.dev else "val"
    rounds = ["SELF_TRAINING.ROUNDS", args.rounds] if args.rounds else []
    iters = ["SELF_TRAINING.ROUND_ITERS", args.round_iters] if args.round_iters else []
    few = f"scenes{args.scenes}" if args.scenes != SCENES["train"] else ""
    many = f"cells{args.cells}" if args.cells != CELLS[0] else ""
    size = ["MODEL.STSEG.IMAGE_SIZE", str([16 * args.cells] * 2)] if many else []
    data = args.data or args.out / "_".join(filter(None, ("datasets", few)))
    return Plan(
        out=args.out.resolve(),
        data=data.expanduser().resolve(),
        dataset=f"small_world_target_{split}_sem_seg",
        threads=threads_of(args.jobs),
        stage1=("SOLVER.MAX_ITER", str(args.stage1_iters), *STAGE1_START, *size),
        stage2=tuple(map(str, [*rounds, *iters, *size, *args.opts])),
        setting="_".join(filter(None, (many, few))),
        variant=args.variant,
    )


def prepare_data(root: Path, scenes: Mapping[str, int]) -> None:
    """Render the splits that are missing or incomplete.

    Args:
        root: the data root.
        scenes: how many, by split; those that are not named are left alone.

    Raises:
        ValueError: if a split has more scenes than the ablation uses.
    """
    world, flags = root / "small_world", []
    for split in ("train", "dev", "val", *scenes):
        found = len(list((world / "images" / split).glob("*.png")))
        wanted = scenes.get(split, found)
        if found > wanted:
            raise ValueError(
                f"{world / 'images' / split}: expected {wanted} scenes, got {found}. Name another "
                "folder with --data."
            )
        flags += [f"--{split.replace('_', '-')}", str(0 if found == wanted else wanted)]
    if any(count != "0" for count in flags[1::2]):
        script = ROOT / "datasets" / "prepare_scripts" / "prepare_small_world.py"
        subprocess.run([sys.executable, str(script), "--out", str(world), *flags], check=True)


def run_all(runs: Sequence[Run], jobs: int) -> None:
    """Train and evaluate, starts first, `jobs` at a time; the first failure ends it."""
    clock = time.monotonic()

    def finish(run: Run) -> None:
        start = time.monotonic()
        run.train()
        run.evaluate()
        spent, since = time.monotonic() - start, time.monotonic() - clock
        print(f"[{since / 60:5.1f} min] {run.title}: done in {spent:.0f} s", flush=True)

    waiting, running = list(runs), dict[Future[None], Run]()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or running:
                unfinished = {(run.row, run.seed) for run in (*waiting, *running.values())}
                ready = [run for run in waiting if (run.spec.start, run.seed) not in unfinished]
                running |= {pool.submit(finish, run): run for run in ready}
                waiting = [run for run in waiting if run not in ready]
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[future]
                    future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def cost(runs: Sequence[Run], args: argparse.Namespace) -> str:
    """What is left to do, in a sentence."""
    left = [run for run in runs if not run.is_done]
    spent = sum(
        minutes(
            run.spec,
            args.cells,
            args.stage1_iters,
            (args.rounds or 0, args.round_iters or 0),
        )
        for run in left
    )
    return (
        f"{len(left)} of {len(runs)} runs to do: about {spent:.0f} minutes of one core, "
        f"{spent / args.jobs:.0f} with --jobs {args.jobs} on as many cores"
    )


def commit() -> str:
    """Of this checkout, with "-dirty" where files differ from it; "" outside git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def tabulate(
    runs: Sequence[Run], plan: Plan, module: str, pairs: Sequence[tuple[str, str]]
) -> tuple[dict[str, Any], str]:
    """Everything as plain values for JSON, and the tables in Markdown.

    Args:
        runs: done.
        plan: of the runs; one row is the baseline.
        module: whose command line this is.
        pairs: rows to compare, where both were run: (row, the other).
    """
    rows: dict[str, dict[int, dict[str, float]]] = {}
    verdicts: dict[str, Counter] = {}
    for run in runs:
        rows.setdefault(run.row, {})[run.seed] = read_figures(run.evaluate(), plan.dataset)
        verdicts.setdefault(run.row, Counter()).update([run.verdict()] if run.verdict() else [])
    summary = summarise(rows, BASELINE)
    notes = {
        row: "; ".join(f"{n} x {v}" for v, n in found.items()) for row, found in verdicts.items()
    }
    intervals = paired(rows, [pair for pair in pairs if rows.keys() >= set(pair)])
    table = markdown(summary, {row: spec.title for row, spec in plan.rows.items()}, notes)
    if intervals:
        table += "\nDifferences of runs of one seed, 95 % t intervals over seeds:\n\n"
        table += paired_markdown(intervals)
    content = {
        "command": ["python", "-m", module, *sys.argv[1:]],
        "commit": commit(),
        "dataset": plan.dataset,
        "settings": {row: next(r for r in runs if r.row == row).settings() for row in rows},
        "in_evaluation": {row: list(plan.rows[row].evaluation) for row in rows},
        "per_seed": rows,
        "summary": summary,
        "differences": intervals,
        "verdicts": notes,
    }
    return content, table


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare, run, print and write the table."""
    args = parse_args(argv)
    plan = build_plan(args)
    runs = [
        Run(plan, row, seed)
        for row in with_requirements(args.rows)
        for seed in range(args.seeds if row in PAPER_ROWS else min(args.seeds, args.extra_seeds))
    ]
    try:
        for run in runs:  # a mistake is known now, not after the first hour
            run.claim()
        print(cost(runs, args), flush=True)
        prepare_data(plan.data, {**SCENES, "train": args.scenes})
        run_all(runs, args.jobs)
    except (FileNotFoundError, KeyError, ValueError, RuntimeError) as error:
        sys.exit(f"ablation: {error.args[0]}")
    pairs = comparisons(list(dict.fromkeys(run.row for run in runs)))
    content, table = tabulate(runs, plan, "benchmarks.ablation", pairs)
    name = "_".join(part for part in ("table", "dev" if args.dev else "val", args.variant) if part)
    text = json.dumps(without_nan(content), indent=1) + "\n"
    write_atomically(plan.folder / f"{name}.json", text.encode())
    write_atomically(plan.folder / f"{name}.md", table.encode())
    print(f"{plan.dataset}, mIoU in percent: mean ± standard deviation (largest - smallest)\n")
    print(table)
    print(f"written to {plan.folder / name}.json and .md")
    return 0


def without_nan(value: Any) -> Any:
    """The same, with null in the place of what is not a number."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    sys.exit(main())
