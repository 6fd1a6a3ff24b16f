r"""How often the guard of self-training errs: stage 2 that went well, badly, or nowhere.

    python -m benchmarks.guard --data DIR            trains what is missing, then judges
    python -m benchmarks.guard --data DIR --half chosen    only the half that limits are chosen by

Every case is a stage 2 in the small world of one kind (honest, null or poisoned, see
`benchmarks.guard_case`) from one of four starts, all of whose rounds are kept. Its snapshots are
judged afterwards by the guard as it is, round by round: which rounds it undoes, which it keeps, and
its verdict. The truth is mIoU on labelled images of the target, which the guard never sees. Limits
were chosen by the cases of the first two starts; those of the other two are judged once, for the
figures that count.

"False accept": mIoU falls by more than 0.5 and the verdict is "adapted". "False reject": the best
round gains more than 1 and the verdict is another. "Spearman" is that of the score and the change
of mIoU over all rounds, "gap" the distance of the kept weights from the best, in mIoU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.ablation_runs import ROOT, Plan, Row, Run
from benchmarks.guard_case import KINDS
from benchmarks.report_file import markdown_table, origin, write_report

#: Core-minutes of one case, for the estimate.
MINUTES = 1.6
SHIPPED = "stseg://small_world/stseg_mini.pth"
START_ROWS = {
    "start": Row("stage 1 of 200 iterations", "small_world.yaml"),
    "unsure": Row("stage 1 of 80", "small_world.yaml", "", ("SOLVER.MAX_ITER", "80")),
}
#: Name, and row and seed of the start; none for the weights that ship.
STARTS: dict[str, tuple[str, int] | None] = {
    "shipped": None,
    "start0": ("start", 0),
    "start1": ("start", 1),
    "unsure0": ("unsure", 0),
}
LOSS, GAIN = 0.5, 1.0  # points of mIoU


@dataclass(frozen=True)
class Case:
    """One stage 2 with all its rounds.

    Attributes:
        start: of STARTS.
        kind: of `benchmarks.guard_case.KINDS`.
        out: folder of the study.
    """

    start: str
    kind: str
    out: Path

    @property
    def folder(self) -> Path:
        """Where it lives."""
        return self.out / "cases" / self.start / self.kind

    @property
    def place(self) -> tuple[int, int]:
        """Of the start, and of the kind among those of the start."""
        return list(STARTS).index(self.start), kinds_of(self.start).index(self.kind)

    @property
    def is_aside(self) -> bool:
        """Whether it belongs to the half that is looked at once: two of the four starts."""
        return self.place[0] >= len(STARTS) // 2

    @property
    def seed(self) -> int:
        """Of its own for every case."""
        return 100 * self.place[0] + self.place[1]


def kinds_of(start: str) -> list[str]:
    """All kinds; of the two with swapped classes one."""
    left_out = ("swapped_3", "swapped_1")[list(STARTS).index(start) % 2]
    return [kind for kind in KINDS if kind != left_out]


def start_run(name: str, plan: Plan) -> Run | None:
    """The stage 1 behind a start; None for the weights that ship."""
    found = STARTS[name]
    return None if found is None else Run(plan, *found)


def train(cases: Sequence[Case], plan: Plan, jobs: int) -> None:
    """Train what is missing: starts one after the other, then cases, `jobs` at a time.

    Raises:
        RuntimeError: if a process fails.
    """
    weights = {name: SHIPPED for name in STARTS}
    for name in STARTS:
        if run := start_run(name, plan):
            run.claim()
            run.train()
            weights[name] = str(run.weights)
    environment = {
        **os.environ,
        "DETECTRON2_DATASETS": str(plan.data),
        "OMP_NUM_THREADS": str(plan.threads),
    }

    def finish(case: Case) -> None:
        since = time.monotonic()
        case.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.guard_case", case.kind]
        command += ["--start", weights[case.start], "--seed", str(case.seed)]
        log = case.folder / "process.txt"
        with open(log, "ab") as file:
            code = subprocess.run(
                [*command, "--out", str(case.folder)],
                stdout=file, stderr=file, env=environment, cwd=ROOT, check=False,
            ).returncode  # fmt: skip
        if code:
            raise RuntimeError(f"{case.start}, {case.kind}: exit code {code}, see {log}.")
        for path in case.folder.glob("*.pth"):
            path.unlink()
        print(f"{case.start}, {case.kind}: done in {time.monotonic() - since:.0f} s", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(finish, (case for case in cases if not done_file(case).exists())))


def done_file(case: Case) -> Path:
    """Written when a case is done."""
    return case.folder / "case.json"


def judge(case: Case, settings: Any = None) -> dict[str, Any]:
    """What the guard would have done in a case, and what that was worth.

    Args:
        case: done.
        settings: the guard's; the defaults if None.
    """
    from stseg.self_training.guard import ADAPTED, best_round, judge_round, judge_run
    from stseg.self_training.snapshot import Snapshot

    miou = json.loads(done_file(case).read_text())["miou"]
    folder = case.folder / "self_training"
    start = Snapshot.load(folder / "start.npz")
    verdicts = [
        judge_round(start, Snapshot.load(folder / f"round_{number:02d}.npz"), settings)
        for number in range(1, len(miou))
    ]
    # A round that harms is undone; that it is tried once more is left out here.
    lived = next((k for k, v in enumerate(verdicts) if v.harmful), len(verdicts))
    records = [verdict.to_dict() | {"round": k + 1} for k, verdict in enumerate(verdicts[:lived])]
    best = best_round(records, settings)
    outcome, _ = judge_run(best)
    chosen = best["round"] if best is not None and outcome == ADAPTED else 0
    return {
        "start": case.start,
        "kind": case.kind,
        "aside": case.is_aside,
        "miou": miou,
        "scores": [v.score for v in verdicts],
        "harmful": [v.harmful for v in verdicts],
        "reasons": [list(v.reasons) for v in verdicts],
        "outcome": outcome,
        "chosen": chosen,
    }


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts over cases that `judge` has judged."""
    import numpy as np

    changes = [row["miou"][row["chosen"]] - row["miou"][0] for row in rows]
    gained = [max(row["miou"]) - row["miou"][0] > GAIN for row in rows]
    adapted = [row["chosen"] > 0 for row in rows]
    gaps = [max(row["miou"]) - row["miou"][row["chosen"]] for row in rows]
    scores = [score for row in rows for score in row["scores"]]
    truths = [value - row["miou"][0] for row in rows for value in row["miou"][1:]]
    ranks = [np.argsort(np.argsort(values)) for values in (scores, truths)]
    return {
        "models": len(rows),
        "adapted": sum(adapted),
        "false_accepts": sum(a and c < -LOSS for a, c in zip(adapted, changes, strict=True)),
        "gained": sum(gained),
        "false_rejects": sum(g and not a for g, a in zip(gained, adapted, strict=True)),
        "spearman": float(np.corrcoef(*ranks)[0, 1]),
        "round_gap": float(np.mean(gaps)),
        "largest_gap": float(max(gaps)),
        "within_1": sum(gap <= 1 for gap in gaps),
    }


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="data root with the small world:"
        " its splits train, target_train and target_dev")  # fmt: skip
    add("--half", choices=("chosen", "both"), default="both", help="(default: %(default)s)")
    add("--out", type=Path, default=ROOT / "output" / "guard", metavar="DIR")
    add("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="(default: %(default)s)")
    add("--threads", type=int, default=1, help="of each (default: %(default)s)")
    add("--json", type=Path, help="file for the figures")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, judge, print and write."""
    from benchmarks.ablation import STAGE1_START

    args = parse_args(argv)
    plan = Plan(
        out=args.out.resolve(),
        data=args.data.expanduser().resolve(),
        dataset="small_world_target_dev_sem_seg",
        threads=args.threads,
        stage1=("SOLVER.MAX_ITER", "200", *STAGE1_START),
        rows=START_ROWS,
    )
    cases = [Case(start, kind, plan.out) for start in STARTS for kind in kinds_of(start)]
    todo = [case for case in cases if not done_file(case).exists()]
    cost = MINUTES * len(todo)
    print(f"{len(todo)} of {len(cases)} cases to train, {cost:.0f} core-minutes.", flush=True)
    try:
        train(cases, plan, args.jobs)
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        sys.exit(f"guard: {error.args[0]}")
    rows = [judge(case) for case in cases if args.half == "both" or not case.is_aside]
    show(rows)
    halves = {
        "chosen": [r for r in rows if not r["aside"]],
        "aside": [r for r in rows if r["aside"]],
    }
    figures = {half: summarise(part) for half, part in halves.items() if part}
    for half, found in figures.items():
        print(half, json.dumps(found))
    from stseg.self_training import GuardSettings

    report = {
        **origin("benchmarks.guard", sys.argv[1:] if argv is None else list(argv)),
        **figures.pop("aside", {}),  # the figures that count stand by themselves
        **figures,
        "settings": asdict(GuardSettings()),
        "rows": rows,
    }
    write_report(args.json, report)
    return 0


def show(rows: Sequence[dict[str, Any]]) -> None:
    """A line per case."""
    lines = []
    for row in rows:
        changes = [f"{value - row['miou'][0]:+.2f}" for value in row["miou"][1:]]
        scores = ["harmful" if harm else f"{score:+.3f}"
                  for score, harm in zip(row["scores"], row["harmful"], strict=True)]  # fmt: skip
        half = "aside" if row["aside"] else ""
        lines.append(
            [row["start"], row["kind"], f"{row['miou'][0]:.2f}", ", ".join(changes)]
            + [", ".join(scores), row["outcome"].partition(":")[0], row["chosen"], half]
        )
    heads = ["start", "kind", "mIoU", "changes", "scores", "verdict", "kept round", "half"]
    print(markdown_table(heads, lines))


if __name__ == "__main__":
    sys.exit(main())
