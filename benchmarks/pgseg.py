"""Does PGSeg learn to segment from captions, and is its regularisation worth something?

    python -m benchmarks.pgseg --jobs 2

On the small world, from pictures with captions and no mask: the network with its prototypes, and
without them, which is GroupViT's. Beside each the regions of one colour that the same towers name
(`benchmarks.colour_regions`): what is gained over these is gained by groups. mIoU in percent with
all names, of all classes, of stuff and of things. Settings are chosen by --dev, and val is read
once. Finished runs are kept and an interrupted one resumes; what is left to do is told first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.ablation_runs import Plan, Row, Run
from benchmarks.ablation_table import interval, spread
from benchmarks.report_file import markdown_table
from benchmarks.run_flags import check_counts
from benchmarks.small_world_runs import SCENES, add_run_flags, carry_out, plan_of, write_table

CONFIG = "small_world_pgseg.yaml"
ROWS = {
    "pgseg": Row("PGSeg", CONFIG),
    "plain": Row("without prototypes", CONFIG, opts=("MODEL.PGSEG.PROTOTYPES.ENABLED", "False")),
}
#: Pictures with captions. Of the 2000 that other benchmarks train on, captions are learnt by heart.
PAIRS = 16000
METRICS = ("all", "stuff", "things")
#: Minutes of one core that a run takes, for the estimate.
MINUTES = 8


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line; a bad flag ends the program with a message."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="how many, from 0 (default: %(default)s)"
    )
    add_run_flags(parser, "pgseg_mini")
    args = parser.parse_args(argv)
    check_counts(parser, args, ("seeds", "iters", "jobs"))
    return args


def by_kind(ious: Mapping[str, float]) -> dict[str, float]:
    """Means over classes that occur.

    Args:
        ious: "IoU-<name>" -> percent, NaN or None for a class that does not occur.
    """
    from stseg.small_world.names import CLASS_NAMES, STUFF_NAMES, THING_NAMES

    groups = {"all": CLASS_NAMES, "stuff": STUFF_NAMES, "things": THING_NAMES}
    found = {kind: [ious.get(f"IoU-{name}") for name in names] for kind, names in groups.items()}
    return {
        kind: statistics.fmean(x for x in values if x is not None and x == x)
        for kind, values in found.items()
    }


def figures_of(run: Run) -> dict[str, dict[str, float]]:
    """Of groups, and of the regions of one colour that the run's weights name."""
    found = run.evaluate()[run.plan.dataset]["sem_seg"]
    path = run.folder / "eval" / run.plan.dataset / "colour_regions.json"
    if not path.exists():
        run.look("benchmarks.colour_regions", path)
    regions = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return {"groups": by_kind(found), "colours": by_kind(regions)}


def gather(plan: Plan, seeds: int) -> dict[str, Any]:
    """Figures of all runs, their spread, and paired differences."""
    rows = {
        row: {seed: figures_of(Run(plan, row, seed)) for seed in range(seeds)} for row in plan.rows
    }

    def differences(one: tuple[str, str], two: tuple[str, str], metric: str) -> list[float]:
        return [
            rows[one[0]][s][one[1]][metric] - rows[two[0]][s][two[1]][metric] for s in range(seeds)
        ]

    pairs = {
        "pgseg - plain": (("pgseg", "groups"), ("plain", "groups")),
        **{f"{row}: groups - colours": ((row, "groups"), (row, "colours")) for row in plan.rows},
    }
    return {
        "rows": rows,
        "summary": {
            row: {
                way: {m: spread([found[s][way][m] for s in range(seeds)]) for m in METRICS}
                for way in ("groups", "colours")
            }
            for row, found in rows.items()
        },
        "differences": {
            name: {m: interval(differences(*pair, m)) for m in METRICS}
            for name, pair in pairs.items()
        },
    }


def markdown(content: Mapping[str, Any]) -> str:
    """Means with standard deviation, and 95 % t intervals of differences over seeds."""
    lines = []
    for row, found in content["summary"].items():
        for way, title in (("groups", "groups"), ("colours", "regions of one colour, so named")):
            cells = [f"{found[way][m]['mean']:.1f} ± {found[way][m]['std']:.1f}" for m in METRICS]
            lines.append([f"{ROWS[row].title}: {title}", *cells])
    for name, found in content["differences"].items():
        cells = [f"{x['mean']:+.1f} [{x['low']:+.1f}, {x['high']:+.1f}]" for x in found.values()]
        lines.append([name, *cells])
    return markdown_table(["row", *METRICS], lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare, run, print and write the table."""
    args = parse_args(argv)
    plan = plan_of(args, ROWS)
    runs = [Run(plan, row, seed) for row in ROWS for seed in range(args.seeds)]
    left = MINUTES * sum(not run.is_done for run in runs)
    print(f"{len(runs)} runs, about {left} minutes of one core to do.", flush=True)
    carry_out("pgseg", runs, plan, args.jobs, {**SCENES, "train": PAIRS})
    try:
        content = gather(plan, args.seeds)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        sys.exit(f"pgseg: {error.args[0]}")
    content = {"command": ["python", "-m", "benchmarks.pgseg", *sys.argv[1:]], **content}
    path = write_table(plan, args.dev, content)
    print(markdown(content))
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
