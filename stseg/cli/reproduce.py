"""Measure a published figure again: fetch the weights, check the data, evaluate, compare."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from stseg.utils import say
from stseg.weights import find, get, whereabouts

_EXAMPLES = """\
examples:
  stseg reproduce                                            # what can be reproduced
  stseg reproduce sed-convnextB --dataset ade20k_150
  stseg reproduce sed-convnextB --num-gpus 4 --output output/sed     # on all its benchmarks

What else `stseg evaluate` takes may follow, such as --num-gpus and KEY VALUE. The data are those
below $DETECTRON2_DATASETS (datasets/README.md). The table, with hashes and versions, is kept in
reproduction.json.
exit code: 0 = all reproduced, 1 = a figure differs, data are not whole, something is wrong or
missing, 2 = wrong use."""


def run(argv: Sequence[str]) -> int:
    """`stseg reproduce`, see `--help`.

    Raises:
        ValueError: for a wrong name, or data with findings.
        OSError: for weights that cannot be fetched.
    """
    parser = argparse.ArgumentParser(
        "stseg reproduce",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="weights; default: list figures")
    parser.add_argument("--dataset", action="append", default=[], metavar="DATA", help="such as"
        " ade20k_150 or A-150; may be given several times; default: all")  # fmt: skip
    parser.add_argument("--tolerance", type=float, default=0.3, metavar="POINTS", help="of mIoU in"
        " percent; default: %(default)s")  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: output/NAME")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="threads that check data")
    args, rest = parser.parse_known_args(argv)
    return _reproduce(args, rest) if args.name else _list()


def _list() -> int:
    from tabulate import tabulate

    from stseg.tools import claims

    rows = [
        (c.weights, c.benchmark, c.published, c.by, "yes" if whereabouts(find(c.weights)) else "no")
        for c in claims()
    ]
    head = ("weights", "benchmark", "mIoU", "published by", "weights here")
    say(tabulate(rows, head, "simple", floatfmt=".1f"))
    return 0


def _reproduce(args: argparse.Namespace, rest: Sequence[str]) -> int:
    from stseg.tools import claims, compare_run, comparison_text

    wanted = claims(args.name, args.dataset)
    output = args.output or Path("output", args.name)
    _check_data([claim.data_set for claim in wanted], args.jobs)
    say(f"weights: {get(args.name)}")
    from stseg.engine import train_command

    what = ["--config", str(find(args.name).config_file()), "--weights", args.name]
    sets = ["DATASETS.TEST", repr(tuple(claim.data_set for claim in wanted))]
    given = [*what, *rest, "--output", str(output), *sets]
    train_command(given, "stseg reproduce", "evaluate")
    rows = compare_run(wanted, output, args.tolerance)
    say(f"\n{comparison_text(rows)}\nwritten: {output / 'reproduction.json'}")
    return int(not all(row.good for row in rows))


def _check_data(names: Sequence[str], jobs: int) -> None:
    from stseg.tools.verification import (
        Settings,
        demand,
        details,
        find_registered,
        overview,
        verify,
    )

    reports = [demand(verify(find_registered(name), Settings(jobs))) for name in names]
    say(overview(reports) + "\n")
    if any(report.failures for report in reports):
        raise ValueError(
            "Data: expected those of the published figure, got findings.\n"
            + "\n".join(text for report in reports if (text := details(report)))
        )
