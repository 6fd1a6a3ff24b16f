r"""How often the guard of self-training errs: stage 2 that went well, badly, or nowhere.

    python -m benchmarks.guard --data DIR            trains what is missing, then judges
    python -m benchmarks.guard --data DIR --half chosen    only the half that limits are chosen by
    python -m benchmarks.guard --world photos --camvid DIR    photographs, with the same limits

Every case is a stage 2 of one kind (honest, null or poisoned, see `benchmarks.guard_case`), all of
whose rounds are kept. It runs in the small world, from one of four starts, or on photographs of
CamVid, from the baseline of `benchmarks.unseen_photos`, which takes the extra `stseg[photos]`. Its
snapshots are judged afterwards by the guard as it is, round by round: which rounds it undoes, which
it keeps, and its verdict. The truth is mIoU on labelled images of the target, which the guard never
sees. Limits were chosen by the cases of the first two starts of the small world; those of the other
two, and all on photographs, are judged once, for the figures that count.

"False accept": mIoU falls by more than 0.5 and the verdict is "adapted". "False reject": the best
round gains more than 1 and the verdict is another. "Spearman" is that of the score and the change
of mIoU over all rounds, "gap" the distance of the kept weights from the best, in mIoU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import unseen_photos
from benchmarks.ablation import STAGE1_START
from benchmarks.ablation_runs import ROOT, Plan, Row
from benchmarks.guard_training import Case, done_file, kinds_of, start_runs, train
from benchmarks.guard_worlds import DRAWINGS, PHOTOS, WORLDS, check_camvid
from benchmarks.report_file import markdown_table, origin, write_report
from benchmarks.run_flags import add_jobs, check_counts

START_ROWS = {
    "start": Row("stage 1 of 200 iterations", "small_world.yaml"),
    "unsure": Row("stage 1 of 80", "small_world.yaml", "", ("SOLVER.MAX_ITER", "80")),
}
#: Flags of one world alone, the first of which it needs, and their defaults.
FLAGS: dict[str, dict[str, Any]] = {
    "drawings": {"data": None, "half": "both"},
    "photos": {"camvid": None, "starts": 1, "unseen_photos": ROOT / "output" / "unseen_photos"},
}
LOSS, GAIN = 0.5, 1.0  # points of mIoU


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
    add("--world", choices=WORLDS, default="drawings", help="(default: %(default)s)")
    add("--data", type=Path, metavar="DIR", help="drawings: data root with the small world:"
        " its splits train, target_train and target_dev")  # fmt: skip
    add("--half", choices=("chosen", "both"), help="drawings (default: both)")
    add("--camvid", type=Path, metavar="DIR", help="photos: folder with images/{train,val},"
        " labels/{train,val} and names.json")  # fmt: skip
    add("--starts", type=int, choices=range(1, len(PHOTOS.starts) + 1), metavar="N",
        help="photos: how many, from seed 0 (default: 1)")  # fmt: skip
    add("--unseen-photos", type=Path, metavar="DIR", help="photos: --out of unseen_photos, where"
        " starts lie, or are trained (default: output/unseen_photos)")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="(default: output/guard, or output/guard_photos)")
    add_jobs(parser)
    add("--threads", type=int, default=1, help="of each (default: %(default)s)")
    add("--json", type=Path, help="file for the figures")
    args = parser.parse_args(argv)
    check_counts(parser, args, ("jobs", "threads"))
    for world, flags in FLAGS.items():
        for flag, default in flags.items():
            if getattr(args, flag) is None:
                setattr(args, flag, default if world == args.world else None)
            elif world != args.world:
                name = f"--{flag.replace('_', '-')}"
                parser.error(f"{name}: expected with --world {world}, got --world {args.world}.")
    needed = next(iter(FLAGS[args.world]))
    if getattr(args, needed) is None:
        parser.error(f"--{needed}: expected with --world {args.world}, got none.")
    args.out = (args.out or ROOT / "output" / f"guard{WORLDS[args.world].suffix}").resolve()
    return args


def build_plan(args: argparse.Namespace) -> Plan:
    """Of the starts.

    Raises:
        FileNotFoundError: if CamVid or the extra of photographs is missing.
        ValueError: if CamVid has other classes.
    """
    if args.world == "photos":
        from stseg.weights import PHOTO_NETWORK

        check_camvid(args.camvid)
        PHOTO_NETWORK.path()
        flags = ["--camvid", str(args.camvid), "--out", str(args.unseen_photos)]
        plan = unseen_photos.build_plan(unseen_photos.parse_args(flags))
        return replace(plan, threads=args.threads)
    return Plan(
        out=args.out,
        data=args.data.expanduser().resolve(),
        dataset=DRAWINGS.truth,
        threads=args.threads,
        stage1=("SOLVER.MAX_ITER", "200", *STAGE1_START),
        rows=START_ROWS,
    )


def cost(cases: Sequence[Case], plan: Plan) -> str:
    """What is left to do, in a sentence."""
    todo = [case for case in cases if not done_file(case).exists()]
    starts = [run for run in start_runs(cases, plan).values() if not run.is_trained]
    a_case, a_start = cases[0].world.minutes
    text = f"{len(todo)} of {len(cases)} cases to train, {a_case * len(todo):.0f} core-minutes"
    if starts:
        text += f"; {len(starts)} of their starts, {a_start * len(starts):.0f} more"
    return f"{text}."


def main(argv: Sequence[str] | None = None) -> int:
    """Train, judge, print and write."""
    args = parse_args(argv)
    world = WORLDS[args.world]
    starts = list(world.starts)[: args.starts]
    cases = [Case(start, kind, args.out, world)
             for start in starts for kind in kinds_of(start, world)]  # fmt: skip
    flags = ["--world", args.world, "--camvid", str(args.camvid.resolve())] if args.camvid else []
    try:
        plan = build_plan(args)
        print(cost(cases, plan), flush=True)
        train(cases, plan, args.jobs, flags)
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        sys.exit(f"guard: {error.args[0]}")
    rows = [judge(case) for case in cases if args.half != "chosen" or not case.is_aside]
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
        "world": args.world,
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
