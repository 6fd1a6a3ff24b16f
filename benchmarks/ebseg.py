"""EBSeg on a CPU against the published way to the same answer: time, memory, and how far apart.

One image of 640 x 640, ViT-B/16 and SAM's ViT-B, random weights, N names whose embeddings are
given: the text tower is no part of this. Sides, in turn, each case in a fresh process:

    published   what the authors' code computes at inference, with our modules: all ten rounds of
                the decoder and of CLIP's upper blocks, attention bias at full width, masks at full
                size and all classes at all pixels (benchmarks/ebseg_published.py)
    reference   with --reference DIR, a checkout of github.com/slonetime/EBSeg itself, in float32
                (benchmarks/reference_ebseg.py). --reference-python names an interpreter that has
                open_clip_torch 2.20 beside torch and detectron2
    stseg       ours: the label map, streamed

Time and memory are those of `benchmarks.inference`: CPU is the least seconds of all threads
together, best and median are by the clock, peak is resident memory while an image is segmented and
added what it rose by. Shares are of the best forward; "rest" is what no part has. The answers of
the first side of a number of names are those that others are compared with: labels at all pixels,
scores at every fourth as shares of the greatest.

Cost on one thread: about 25 seconds of CPU per forward of published and reference, 15 of ours,
repeats and one before; 5 GB of memory at 847 names, and 1 GB of disk for weights.

Examples:
    python -m benchmarks.ebseg --dtype fp32 bf16 --json output/ebseg.json
    python -m benchmarks.ebseg --names 20 847 --repeats 1 --reference EBSeg \
        --reference-python EBSeg/.venv/bin/python
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.case_settings import Case
from benchmarks.ebseg_tables import growths, ratios, tables
from benchmarks.own_process import measured_apart
from benchmarks.report_file import origin, write_report, write_text
from benchmarks.run_flags import check_counts

NAMES = (20, 150, 847)
CONFIG = "configs/ebseg/ebseg_vitB.yaml"
#: Seconds of CPU of one forward and of building a side, for what is said first.
SECONDS, BUILDING = {"published": 25, "reference": 25, "stseg": 15}, 10


def cases(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Case]]:
    """Kinds of numbers and cases in the order in which they are measured."""
    for names in args.names:
        for dtype in args.dtype:
            for side in sides_of(args, dtype):
                yield (
                    dtype,
                    Case(
                        side,
                        classes=names,
                        image_size=args.image_size,
                        threads=args.threads,
                        repeats=args.repeats,
                        config_file=args.config_file,
                        # The system's own way to bf16, which leaves some parts in float32.
                        opts=[*args.opts, "MODEL.DTYPE", dtype],
                        reference=str(Path(args.reference).resolve()) if args.reference else "",
                        weights=str(folder / "weights.pt"),
                        outputs=str(folder / f"{names}.pt"),
                    ),
                )


def sides_of(args: argparse.Namespace, dtype: str) -> tuple[str, ...]:
    """The authors' code knows float32 alone."""
    first = ("reference",) if args.reference and dtype == "fp32" else ()
    return (*first, "published", "stseg")


def run(args: argparse.Namespace) -> dict:
    """Measure all cases."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned = list(cases(args, folder))
        print(told(args, planned), file=sys.stderr)
        shared = dataclasses.replace(planned[0][1], side="weights", classes=max(args.names))
        measured_apart("benchmarks.ebseg_case", shared, "weights")
        for dtype, case in planned:
            title = f"{case.side}, {case.classes} names, {dtype}"
            python = args.reference_python if case.side == "reference" else sys.executable
            figures = measured_apart("benchmarks.ebseg_case", case, title, python)
            seconds, peak = figures["cpu_s"], figures["peak_mib"]
            print(f"{title}: {seconds:.2f} s of CPU, {peak:.0f} MiB", file=sys.stderr)
            rows.append({"side": case.side, "names": case.classes, "dtype": dtype, **figures})
    return {"rows": rows, "ratios": ratios(rows), "growth": growths(rows)}


def told(args: argparse.Namespace, planned: Sequence[tuple[str, Case]]) -> str:
    """What it costs, before it begins."""
    seconds = sum(BUILDING + (1 + args.repeats) * SECONDS[case.side] for _, case in planned)
    return (
        f"{len(planned)} cases: about {seconds / 60:.0f} minutes of CPU at 640 x 640, up to 5 GB "
        "of memory, 1 GB of disk for weights."
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--names", type=int, nargs="+", default=NAMES, metavar="N")
    add("--dtype", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    add("--image-size", type=int, default=640, help="side of the image (default: %(default)s)")
    add("--threads", type=int, default=1, help="of each side (default: %(default)s)")
    add("--repeats", type=int, default=2, help="forwards that count (default: %(default)s)")
    add("--config-file", default=CONFIG, metavar="FILE", help="of ours (default: %(default)s)")
    add("--reference", metavar="DIR", help="checkout of github.com/slonetime/EBSeg")
    add("--reference-python", default=sys.executable, metavar="FILE", help="its interpreter")
    add("--json", type=Path, metavar="FILE", help="file for the figures")
    add("--markdown", type=Path, metavar="FILE", help="file for the tables")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="of our config")
    args = parser.parse_args(argv)
    check_counts(parser, args, ("image_size", "threads", "repeats"))
    if min(args.names) < 1:
        parser.error("--names: expected at least 1.")
    return args


def main(argv: Sequence[str] | None = None) -> dict:
    """Measure, print the tables and write what is asked for."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(argv)
    report = run(args)
    settings = {"image_size": args.image_size, "repeats": args.repeats}
    report = {**origin("benchmarks.ebseg", argv), "threads": args.threads, **settings, **report}
    text = tables(report)
    print(text)
    write_report(args.json, report)
    write_text(args.markdown, text)
    return report


if __name__ == "__main__":
    main()
