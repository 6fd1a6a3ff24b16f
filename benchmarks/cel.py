"""Does a mask-proposal model find unseen classes better without a background embedding?

    python -m benchmarks.cel --jobs 2

CEL's claim on the small world, where unseen classes are in the pictures and have no masks:
proposals beside a trained background embedding, and without, by matched cross entropy alone, with
each class enhancement loss, and without it. Then a constant off the cosines of seen classes, in
evaluation, for both: chosen without a label of an unseen class (`benchmarks.seen_offset`), and some
that are told with such labels looked at; and what both are without frozen CLIP's say in evaluation.
Then CEL after self-training on its training images, in whose void CLIP names regions after unseen
classes. Baseline and CEL on six seeds, other rows on three. Figures are mIoU in percent; settings
are chosen by --dev, and val is read once. Finished runs are kept and an interrupted one resumes;
what is left to do is told first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.ablation import tabulate
from benchmarks.ablation_runs import Plan, Row, Run
from benchmarks.run_flags import check_counts
from benchmarks.small_world_runs import add_run_flags, carry_out, plan_of, write_table

CONFIG, ADAPTED = "small_world_cel.yaml", "adapt_small_world_cel.yaml"
LOSSES = {"presence": "presence", "absent": "absent-class push-off",
          "rank_list": "list-wise ranking", "rank_pairs": "pair-wise ranking"}  # fmt: skip
#: On by default.
DEFAULTS = ("presence", "absent")


def _weights(**values: float) -> tuple[str, ...]:
    pairs = ((f"MODEL.CEL.LOSSES.{k.upper()}_WEIGHT", str(v)) for k, v in values.items())
    return tuple(text for pair in pairs for text in pair)


NONE = dict.fromkeys(DEFAULTS, 0.0)
#: Weight of a loss that is on, as the defaults have it or the toy behind them.
ON = {"presence": 0.5, "absent": 0.5, "rank_list": 1.0, "rank_pairs": 5.0}
BACKGROUND = ("MODEL.CEL.BACKGROUND.ENABLED", "True")
OFFSETS = ("0.02", "0.05", "0.1")
STARTS = {"baseline": "background embedding", "cel": "CEL"}
ROWS = {
    "baseline": Row("background embedding", CONFIG, opts=BACKGROUND),
    "cel": Row("CEL", CONFIG),
    "matched": Row("no background, matched cross entropy alone", CONFIG, opts=_weights(**NONE)),
    **{
        f"with_{name}": Row(
            f"matched cross entropy and {LOSSES[name]}",
            CONFIG,
            opts=_weights(**{**NONE, name: ON[name]}),
        )
        for name in LOSSES
    },
    **{
        f"plus_{name}": Row(f"CEL + {LOSSES[name]}", CONFIG, opts=_weights(**{name: ON[name]}))
        for name in LOSSES
        if name not in DEFAULTS
    },
    **{
        f"{start}_off_{offset}": Row(
            f"{title}, seen cosines less {offset} (target labels looked at)",
            CONFIG,
            start,
            opts=BACKGROUND if start == "baseline" else (),
            evaluation=("MODEL.CEL.SEEN_OFFSET", offset),
            trained=False,
        )
        for start, title in STARTS.items()
        for offset in OFFSETS
    },
    **{
        f"{start}_own": Row(
            f"{title}, frozen CLIP left out",
            CONFIG,
            start,
            opts=BACKGROUND if start == "baseline" else (),
            evaluation=("MODEL.CEL.POOLED.SEEN", "0.0", "MODEL.CEL.POOLED.OTHERS", "0.0"),
            trained=False,
        )
        for start, title in STARTS.items()
    },
    **{
        f"{start}_calibrated": Row(
            f"{title}, seen cosines less what the tower tells",
            CONFIG,
            start,
            opts=BACKGROUND if start == "baseline" else (),
            trained=False,
            chooser="benchmarks.seen_offset",
        )
        for start, title in STARTS.items()
    },
    "cel_st": Row("CEL + pseudo-labels by CLIP", ADAPTED, "cel"),
}
PAIRS = (
    ("cel", "baseline"),
    ("matched", "baseline"),
    *(
        (name, other)
        for name in ROWS
        for prefix, other in (("with_", "matched"), ("plus_", "cel"))
        if name.startswith(prefix)
    ),
    # With two losses on, CEL without one is the other alone.
    ("cel", "with_absent"),
    ("cel", "with_presence"),
    *((f"{start}_off_{x}", start) for start in STARTS for x in OFFSETS),
    *((f"{start}_own", start) for start in STARTS),
    *((f"{start}_calibrated", start) for start in STARTS),
    ("cel_calibrated", "baseline_calibrated"),
    ("cel_st", "cel"),
)
#: Rows on as many seeds as are asked for, others on three; minutes of one core that a run takes.
MANY = tuple(STARTS)
FEW_SEEDS, MINUTES = 3, {"stage1": 6, "stage2": 20, "evaluated": 1, "chosen": 3}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line; a bad flag ends the program with a message."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    add("--seeds", type=int, default=6, help="of the rows that are compared most, from 0"
        " (default: %(default)s)")  # fmt: skip
    add("--round-iters", type=int, help="of a round of self-training (default: the config's)")
    add_run_flags(parser, "cel")
    args = parser.parse_args(argv)
    check_counts(parser, args, ("seeds", "iters", "round_iters", "jobs"))
    return args


def build_plan(args: argparse.Namespace) -> Plan:
    """Settings of all runs from the flags."""
    iters = args.round_iters
    stage2 = ("SELF_TRAINING.ROUND_ITERS", str(iters)) if iters else ()
    return plan_of(args, ROWS, stage2)


def minutes(run: Run) -> int:
    """About how many minutes of one core a run takes; 0 where it is done."""
    if run.is_done:
        return 0
    if run.spec.trained:
        return MINUTES["stage2" if run.spec.adapts else "stage1"]
    return MINUTES["chosen" if run.spec.chooser else "evaluated"]


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare, run, print and write the table."""
    args = parse_args(argv)
    plan = build_plan(args)
    needed = {*args.rows, *(ROWS[row].start for row in args.rows)} - {""}
    few = min(args.seeds, FEW_SEEDS)
    runs = [
        Run(plan, row, seed)
        for row in ROWS
        if row in needed
        for seed in range(args.seeds if row in MANY else few)
    ]
    left = sum(map(minutes, runs))
    print(f"{len(runs)} runs, about {left} minutes of one core to do.", flush=True)
    carry_out("cel", runs, plan, args.jobs)
    content, table = tabulate(runs, plan, "benchmarks.cel", PAIRS)
    content["chosen"] = {run.title: run.chosen() for run in runs if run.spec.chooser}
    path = write_table(plan, args.dev, content)
    print(table)
    for title, keys in content["chosen"].items():
        print(f"{title}: {', '.join(f'{key} {value:g}' for key, value in keys.items())}")
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
