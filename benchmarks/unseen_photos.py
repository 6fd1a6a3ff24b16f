"""The paper's question on photographs: CamVid, with masks of the classes that ImageNet cannot name.

    python -m benchmarks.unseen_photos --camvid DIR

The start is CLIP-photo (the extra `stseg[photos]`), a network that has seen whole pictures with
names. Stage 1 has masks of sky, building, pole, road, pavement, tree and pedestrian; car, fence,
sign and bicyclist are known from names alone, with other words beside them ("bicyclist, bicycle"),
as people write vocabularies. Names of things that are in no picture are asked for in stage 1, too.
Tower and decoder learn, and forget what they have no masks of: for names without masks the answer
of CLIP-photo as it was has a weight (MODEL.STSEG.ENSEMBLE), in evaluation and in what stage 2
learns from. Stage 2 adapts to CamVid's own training images, without labels, with
all 11 names. Rows: what CLIP-photo says without any training; baseline and + ST on three seeds,
and what their decoders say alone; + DEA and both on one. Figures are mIoU in percent on the 101
images of val.
Finished runs are kept and an interrupted one resumes; what is left to do is told first. DIR holds
images/{train,val}, labels/{train,val} and names.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from benchmarks.ablation import run_all, tabulate, without_nan
from benchmarks.ablation_runs import ROOT, Plan, Row, Run
from benchmarks.run_flags import add_jobs, check_counts, check_named, threads_of
from stseg.utils import write_atomically

#: Names without masks, and the words beside them under which ImageNet has such things.
UNSEEN = {
    "sign symbol": ("street sign",),
    "fence": ("picket fence", "chainlink fence"),
    "car": (),
    "bicyclist": ("bicycle",),
}
#: Names in stage 1 that are in no picture: with seven classes alone the decoder does not learn to
#: answer "no" to a word that it does not see.
ABSENT = ("dog", "boat", "tent", "chair", "bottle", "fruit", "bird", "clock")
STAGE1, STAGE2 = "camvid_unseen.yaml", "adapt_camvid_unseen.yaml"
LARGE = ("MODEL.STSEG.IMAGE_SIZE", "[480, 640]")  # as the others look at pictures
DEA = ("MODEL.STSEG.DEA.ENABLED", "True")
DECODER = ("MODEL.STSEG.ENSEMBLE.BETA", "0.0")
ALONE = "stseg://photos/photo_mini.pth"
ROWS = {
    "untrained": Row("CLIP-photo alone", "photo_mini.yaml", opts=LARGE, weights=ALONE),
    "baseline": Row("baseline", STAGE1),
    "baseline_decoder": Row(
        "baseline, the decoder alone", STAGE1, "baseline", evaluation=DECODER, trained=False
    ),
    "dea": Row("+ DEA", STAGE1, opts=DEA),
    "st": Row("+ ST", STAGE2, "baseline"),
    "st_decoder": Row("+ ST, the decoder alone", STAGE1, "st", evaluation=DECODER, trained=False),
    "dea_st": Row("+ DEA + ST", STAGE2, "dea", DEA),
}
PAIRS = (
    *(("st", "baseline"), ("st_decoder", "baseline_decoder"), ("baseline", "baseline_decoder")),
    *(("dea", "baseline"), ("dea_st", "st")),
)
#: Seeds of each row, and minutes of one core that a run takes.
SEEDS = {"untrained": 1, "dea": 1, "dea_st": 1}
MINUTES = {"baseline": 24, "st": 17, "dea": 28, "dea_st": 20}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line; a bad flag ends the program with a message."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--camvid", type=Path, required=True, metavar="DIR")
    add("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    add("--iters", type=int, help="of stage 1 (default: the config's)")
    add("--seeds", type=int, default=3, help="at most, from 0 (default: %(default)s)")
    add("--out", type=Path, default=ROOT / "output" / "unseen_photos", metavar="DIR")
    add_jobs(parser)
    args = parser.parse_args(argv)
    check_counts(parser, args, ("iters", "seeds", "jobs"))
    check_named(parser, args.camvid)
    return args


def build_plan(args: argparse.Namespace) -> Plan:
    """Settings of all runs from the flags; writes the names with their marks."""
    camvid, out = args.camvid.resolve(), args.out.resolve()
    names = json.loads((camvid / "names.json").read_text(encoding="utf-8"))["classes"]
    seen = [name for name in names if name not in UNSEEN]
    out.mkdir(parents=True, exist_ok=True)
    marked = out / "names.json"
    write_names(names, marked)
    kept = {names.index(name): place for place, name in enumerate(seen)}
    train = {
        "name": "camvid_seen",
        "images": str(camvid / "images" / "train"),
        "labels": str(camvid / "labels" / "train"),
        "names": [*seen, *ABSENT],
        "values": [list(pair) for pair in kept.items()],
        "ignore": [*(i for i in range(len(names)) if i not in kept), 255],
    }
    iters = ("SOLVER.MAX_ITER", str(args.iters)) if args.iters else ()
    shared = ("DATASETS.FOLDERS", repr([train, val_entry(camvid, marked)]))
    return Plan(
        out=out,
        data=out,
        dataset="camvid_val",
        threads=threads_of(args.jobs),
        stage1=(*shared, "DATASETS.TRAIN", "('camvid_seen',)", *iters),
        stage2=(
            *shared,
            *("SELF_TRAINING.IMAGES", str(camvid / "images" / "train")),
            *("SELF_TRAINING.VOCABULARY", str(marked)),
        ),
        rows=ROWS,
    )


def write_names(
    names: Sequence[str], path: Path, wrong: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write a names file with marks and the words beside unseen names.

    Args:
        names: of all classes.
        path: of the file.
        wrong: names to go by in the place of some; stage 1 had no masks of such a name.
    """
    asked = [[wrong[n]] if n in wrong else [n, *UNSEEN.get(n, ())] for n in names]
    seen = [n for n in names if n not in {*UNSEEN, *wrong}]
    write_atomically(path, json.dumps({"classes": asked, "seen": seen, "ignore": 255}).encode())


def val_entry(camvid: Path, names: Path) -> dict[str, str]:
    """CamVid's labelled images of val under the names of a file, for DATASETS.FOLDERS."""
    return {
        "name": "camvid_val",
        "images": str(camvid / "images" / "val"),
        "labels": str(camvid / "labels" / "val"),
        "names": str(names),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print and write the table."""
    args = parse_args(argv)
    plan = build_plan(args)
    needed = {"baseline", *args.rows, *(ROWS[row].start for row in args.rows)} - {""}
    runs = [
        Run(plan, row, seed)
        for row in ROWS
        if row in needed
        for seed in range(min(args.seeds, SEEDS.get(row, args.seeds)))
    ]
    left = sum(MINUTES.get(run.row, 2) for run in runs if not run.is_done)
    print(f"About {left} minutes of one core to do.", flush=True)
    try:
        for run in runs:
            run.claim()
        run_all(runs, args.jobs)
    except (FileNotFoundError, KeyError, ValueError, RuntimeError) as error:
        sys.exit(f"unseen_photos: {error.args[0]}")
    content, table = tabulate(runs, plan, "benchmarks.unseen_photos", PAIRS)
    text = json.dumps(without_nan(content), indent=1) + "\n"
    write_atomically(plan.out / "table.json", text.encode())
    print(table)
    print(f"written to {plan.out / 'table.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
