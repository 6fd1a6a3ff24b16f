"""Adaptation without labels on photographs: from CamVid to facades, over separately trained starts.

    python -m benchmarks.photographs --camvid DIR --facades DIR
    python -m benchmarks.photographs --camvid DIR --facades DIR --world photos

Every seed trains a start on CamVid (11 classes of street scenes; from CLIP-mini, which has seen
drawn scenes only, or from CLIP-photo of the extra `stseg[photos]`, which has seen photographs),
evaluates it on CamVid's validation images and on the labelled facades (8 names, three of which
CamVid has not), adapts it to the unlabelled ones, and evaluates that. A start
that is sure of nothing is not adapted, and keeps its figures. The labels of the facades are used
for nothing else. Finished runs are kept and an interrupted one resumes, so the
same command goes on after a stop. DIR of CamVid holds images/{train,val}, labels/{train,val} and
names.json, that of the facades images/{unlabelled,train}, labels/train and names.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.ablation import run_all, without_nan
from benchmarks.ablation_runs import ROOT, Plan, Row, Run
from benchmarks.ablation_table import spread
from benchmarks.run_flags import add_jobs, check_counts, check_named, threads_of
from stseg.utils import write_atomically

START, ADAPTED = "start", "adapted"
#: By what the network had seen before: the config of a start, and that of its adaptation.
WORLDS = {
    "drawings": ("camvid.yaml", "adapt_camvid.yaml"),
    "photos": ("camvid_photo.yaml", "adapt_camvid_photo.yaml"),
}
METRICS = ("mIoU", "fwIoU", "pACC")
#: How a run ends whose start passes the gate nowhere, and what the table calls it.
REFUSED = "SELF_TRAINING.GATE.THRESH: expected at least one class above"
NOTHING_SURE = "not adapted: no class above the gate"
#: Iterations of a start where the config's are not taken.
ITERS = {"drawings": 900}
#: Minutes of one core that a run of each row took, for the estimate.
MINUTES = {
    "drawings": {START: 27, ADAPTED: 9},
    "photos": {START: 60, ADAPTED: 15},
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line; a bad flag ends the program with a message."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--camvid", type=Path, required=True, metavar="DIR")
    add("--facades", type=Path, required=True, metavar="DIR")
    add("--seeds", type=int, default=3, help="how many, from 0 (default: %(default)s)")
    add("--world", choices=list(WORLDS), default="drawings", help="what the network had seen"
        " before CamVid (default: %(default)s)")  # fmt: skip
    add("--iters", type=int, help="of a start (default: 900, or of photos the config's)")
    add("--out", type=Path, metavar="DIR", help="(default: output/photographs, for photos another)")
    add_jobs(parser)
    args = parser.parse_args(argv)
    check_counts(parser, args, ("seeds", "iters", "jobs"))
    name = "photographs" if args.world == "drawings" else f"photographs_{args.world}"
    args.out = args.out or ROOT / "output" / name
    args.iters = args.iters or ITERS.get(args.world)
    check_named(parser, args.camvid, args.facades)
    return args


def build_plan(args: argparse.Namespace) -> Plan:
    """Settings of all runs from the flags."""
    camvid, facades = args.camvid.resolve(), args.facades.resolve()
    folders = [
        *(_entry(f"camvid_{split}", camvid, split) for split in ("train", "val")),
        _entry("facades", facades, "train"),
    ]
    shared = ("DATASETS.FOLDERS", repr(folders), "SOLVER.AMP.ENABLED", "False")
    start, adapted = WORLDS[args.world]
    iters = ("SOLVER.MAX_ITER", str(args.iters)) if args.iters else ()
    return Plan(
        out=args.out.resolve(),
        data=args.out.resolve(),
        dataset="facades",
        threads=threads_of(args.jobs),
        stage1=(*shared, *iters),
        stage2=(
            *shared,
            *("SELF_TRAINING.IMAGES", str(facades / "images" / "unlabelled")),
            *("SELF_TRAINING.VOCABULARY", str(facades / "names.json")),
            *("SELF_TRAINING.SOURCE_VOCABULARY", str(camvid / "names.json")),
        ),
        rows={
            START: Row("start, trained on CamVid", start),
            ADAPTED: Row("adapted to facades", adapted, START),
        },
    )


def _entry(name: str, root: Path, split: str) -> list[str]:
    return [name, *(str(root / part / split) for part in ("images", "labels")),
            str(root / "names.json")]  # fmt: skip


def figures_of(run: Run) -> dict[str, float]:
    """Percent on the run's data set: the metrics and IoU per class."""
    found = run.evaluate()[run.plan.dataset]["sem_seg"]
    return {k: v for k, v in found.items() if k in METRICS or k.startswith("IoU-")}


def is_refused(run: Run) -> bool:
    """Whether a run has found nothing to label."""
    log = run.folder / "process.txt"
    if run.row != ADAPTED or run.results.exists() or not log.exists():
        return False
    return REFUSED in log.read_text(errors="replace").splitlines()[-1]


def run_those_that_can(runs: Sequence[Run], jobs: int) -> None:
    """Train and evaluate all but what has nothing to label."""
    todo = [run for run in runs if not is_refused(run)]
    while True:
        try:
            return run_all(todo, jobs)
        except RuntimeError:
            refused = [run for run in todo if is_refused(run)]
            if not refused:
                raise
            todo = [run for run in todo if run not in refused]
            for run in refused:
                print(f"{run.title}: {NOTHING_SURE}", flush=True)


def gather(plan: Plan, seeds: int) -> dict[str, Any]:
    """Figures of all seeds, what the guard said, and the spread over seeds."""
    camvid = replace(plan, dataset="camvid_val")
    rows = []
    for seed in range(seeds):
        before, after = Run(plan, START, seed), Run(plan, ADAPTED, seed)
        row = {
            "seed": seed,
            "camvid_val": figures_of(Run(camvid, START, seed)),
            "before": figures_of(before),
        }
        if is_refused(after):
            row |= {"after": row["before"], "verdict": NOTHING_SURE, "rolled_back": {}}
        else:
            path = after.folder / "self_training" / "rounds.json"
            harmful = [r for r in json.loads(path.read_text())["rounds"] if r["harmful"]]
            row |= {"after": figures_of(after), "verdict": after.verdict()}
            row["rolled_back"] = {r["round"]: r["reasons"] for r in harmful}
        rows.append(row)
    summary = {
        metric: {
            "camvid_val": spread([row["camvid_val"][metric] for row in rows]),
            "before": spread([row["before"][metric] for row in rows]),
            "after": spread([row["after"][metric] for row in rows]),
            "gain": spread([row["after"][metric] - row["before"][metric] for row in rows]),
        }
        for metric in METRICS
    }
    return {"seeds": rows, "summary": summary}


def markdown(content: dict[str, Any]) -> str:
    """A line per seed, and one of means with standard deviation (largest - smallest)."""
    heads = ["seed", "CamVid val mIoU"]
    heads += [f"{metric}: before, after" for metric in METRICS] + ["verdict"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in content["seeds"]:
        pairs = [f"{row['before'][m]:.2f}, {row['after'][m]:.2f}" for m in METRICS]
        cells = [str(row["seed"]), f"{row['camvid_val']['mIoU']:.2f}", *pairs, row["verdict"]]
        lines.append("| " + " | ".join(cells) + " |")
    mean = [_cell(content["summary"]["mIoU"]["camvid_val"])]
    for metric in METRICS:
        found = content["summary"][metric]
        mean.append(f"{_cell(found['before'])}, {_cell(found['after'])}")
    lines.append("| mean | " + " | ".join(mean) + " | |")
    return "\n".join(lines) + "\n"


def _cell(value: dict[str, float]) -> str:
    return f"{value['mean']:.2f} ± {value['std']:.2f} ({value['range']:.2f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print and write the table."""
    args = parse_args(argv)
    plan = build_plan(args)
    runs = [Run(plan, row, seed) for row in plan.rows for seed in range(args.seeds)]
    todo = [run for run in runs if not (run.results.exists() or is_refused(run))]
    cost = sum(MINUTES[args.world][run.row] for run in todo)
    print(f"{len(todo)} of {len(runs)} runs to do, about {cost} minutes of one core.", flush=True)
    try:
        for run in runs:
            run.claim()
        run_those_that_can(runs, args.jobs)
        content = gather(plan, args.seeds)
    except (FileNotFoundError, KeyError, ValueError, RuntimeError) as error:
        sys.exit(f"photographs: {error.args[0]}")
    content = {"command": ["python", "-m", "benchmarks.photographs", *sys.argv[1:]], **content}
    text = json.dumps(without_nan(content), indent=1) + "\n"
    write_atomically(plan.out / "table.json", text.encode())
    print(markdown(content))
    print(f"written to {plan.out / 'table.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
