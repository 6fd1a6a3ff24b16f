"""EBSeg beside STSeg and SED on one ViT: the small world, seen and unseen names.

    python -m benchmarks.vit_systems --jobs 2

SED is the baseline, STSeg has DEA beside. All three start from the shipped CLIP-mini with a ViT,
learn from the masks of the seen classes for the same iterations of the same batch, and are asked
for all names. Then EBSeg without training it anew, with other shares of its three embeddings: the
frozen one (ALPHA of seen classes, BETA of others), the masked one (GAMMA of what is left), and the
decoder's. Figures are mIoU in percent; settings are chosen by --dev, and val is read once.
Finished runs are kept and an interrupted one resumes; what is left to do is told first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.ablation import tabulate
from benchmarks.ablation_rows import BASELINE, STAGE1, Row
from benchmarks.ablation_runs import Run
from benchmarks.run_flags import check_counts
from benchmarks.small_world_runs import add_run_flags, carry_out, plan_of, write_table

CONFIG = "small_world_ebseg.yaml"
VIT = (
    *("MODEL.CLIP.NAME", "vit_mini"),
    *("MODEL.CLIP.PRETRAINED", "stseg://small_world/clip_vit_mini.pt"),
)
#: 12 x 12 cells, as CLIP-mini was trained and as EBSeg shows it pictures: 16 x 16 cells of all 128
#: pixels cost the decoder more than 6 seconds a step.
SIZE = ("MODEL.STSEG.IMAGE_SIZE", "[96, 96]")
#: Shares of the frozen embedding for seen and other classes, and of the masked one, by row.
SHARES = {
    "decoder": ("the decoder's embedding alone", 0.0, 0.0, 0.0),
    "masked": ("the masked embedding alone", 0.0, 0.0, 1.0),
    "frozen": ("the frozen embedding alone", 1.0, 1.0, 0.0),
    "unfrozen": ("without the frozen embedding", 0.0, 0.0, 0.7),
    "alike": ("seen classes as the others", 0.3, 0.3, 0.7),
}


def _balance(alpha: float, beta: float, gamma: float) -> tuple[str, ...]:
    shares = {"ALPHA": alpha, "BETA": beta, "GAMMA": gamma}
    return tuple(text for key, x in shares.items() for text in (f"MODEL.EBSEG.{key}", str(x)))


ROWS = {
    BASELINE: Row("SED", "small_world.yaml", opts=(*VIT, *SIZE)),
    "stseg": Row("STSeg (DEA)", STAGE1, opts=(*VIT, *SIZE)),
    "ebseg": Row("EBSeg", CONFIG),
    **{
        f"ebseg_{name}": Row(
            f"EBSeg, {title}", CONFIG, "ebseg", evaluation=_balance(*shares), trained=False
        )
        for name, (title, *shares) in SHARES.items()
    },
}
PAIRS = (
    ("stseg", BASELINE),
    ("ebseg", BASELINE),
    ("ebseg", "stseg"),
    *((f"ebseg_{name}", "ebseg") for name in SHARES),
)
#: Minutes of one core that a run takes: a guess for the first two, from some steps.
MINUTES = {BASELINE: 25, "stseg": 25, "ebseg": 8}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line; a bad flag ends the program with a message."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    add("--seeds", type=int, default=3, help="how many, from 0 (default: %(default)s)")
    add_run_flags(parser, "vit_systems")
    args = parser.parse_args(argv)
    check_counts(parser, args, ("seeds", "iters", "jobs"))
    return args


def minutes(run: Run) -> int:
    """About how many minutes of one core a run takes; 0 where it is done."""
    return 0 if run.is_done else MINUTES.get(run.row, 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare, run, print and write the table."""
    args = parse_args(argv)
    plan = plan_of(args, ROWS)
    needed = {*args.rows, *(ROWS[row].start for row in args.rows)} - {""}
    runs = [Run(plan, row, seed) for seed in range(args.seeds) for row in ROWS if row in needed]
    left = sum(minutes(run) for run in runs)
    print(f"{len(runs)} runs, about {left} minutes of one core to do.", flush=True)
    carry_out("vit_systems", runs, plan, args.jobs)
    content, table = tabulate(runs, plan, "benchmarks.vit_systems", PAIRS)
    path = write_table(plan, args.dev, content)
    print(table)
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
