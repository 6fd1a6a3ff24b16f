"""Check prepared data sets, and look at them."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from stseg.structures import Vocabulary
from stseg.tools.verification import (
    FileFacts,
    Listed,
    Report,
    Settings,
    demand,
    details,
    folder_target,
    list_folder,
    overview,
    verify,
)
from stseg.utils import check_output, did_you_mean, require_detectron2, say, write_atomically

logger = logging.getLogger(__name__)

#: What stands before the command where nothing else does.
PROGRAM = "python -m stseg.data"

_EXAMPLES = """\
examples:
  PROGRAM verify all --jobs 4
  PROGRAM verify voc_2012_test_sem_seg
  PROGRAM show voc_2012_test_sem_seg --n 12 --output voc.png

exit code: 0 = good, 1 = findings, 2 = wrong use."""

_VERIFY = """\
Check data sets: number of images, images and labels that belong together, their sizes, every id in
the label maps, and the usual mix-ups (unprepared maps, another project's encoding or class order,
colours instead of ids, damaged files). Every finding says what to do. Findings count as failures,
notes do not."""

_VERIFY_EXAMPLES = """\
examples:
  PROGRAM verify all                            # whatever of the table lies below the root
  PROGRAM verify ade20k_150_test_sem_seg --jobs 4 --json ade.json
  PROGRAM verify coco_2017_train_stuff_all_sem_seg --limit 2000
  PROGRAM verify --folder mine images/ labels/ names.txt
  PROGRAM verify --data mine=labelme:photos

A data set that is not there fails only where it is named. exit code: 0 = good, 1 = findings,
2 = wrong use."""

_SHOW = """\
Draw images with their label maps and a legend of the names on one sheet, to look at. The choice is
random and always the same for one seed."""

_SHOW_EXAMPLES = """\
examples:
  PROGRAM show voc_2012_test_sem_seg --n 12 --output voc.png
  PROGRAM show ade20k_150_test_sem_seg --classes "sky; car" --html ade.html
  PROGRAM show mine --folder mine images/ labels/ names.txt"""


def data_command(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Command line, see `--help`.

    Args:
        argv: those of the process by default; the first is the name of a command.
        program: what they follow, for messages.

    Returns:
        0, or 1 where `verify` has findings. Wrong use leaves through `SystemExit(2)`.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    parser = _parser(program)
    args = parser.parse_args(argv)
    if args.root:
        os.environ["DETECTRON2_DATASETS"] = args.root
    try:
        return args.run(args)
    except (OSError, ValueError, TypeError, ImportError) as error:
        parser.exit(2, f"{program}: error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Stopped.\n")


def _verify(args: argparse.Namespace) -> int:
    settings = Settings(args.jobs, args.limit, args.decode, args.strict)
    if args.json:
        check_output(args.json, "--json", _read_files(args))
    folders, data = _folders(args.folder), _register(args.data)
    named = [*folders, *data, *(name for name in args.names if name != "all")]
    names = [*named, *(_registered_names() if "all" in args.names else ())]
    if not names:
        raise ValueError(
            "verify: expected the name of a data set, `all`, --folder or --data, got nothing."
        )
    reports = []
    for name in dict.fromkeys(names):
        listed = _find(name, folders)
        total = min(len(listed.pairs), args.limit or len(listed.pairs))
        report = verify(listed, settings, partial(_progress, name, total))
        reports.append(demand(report) if name in named else report)
    say(overview(reports))
    for report in reports:
        text = details(report)
        say(f"\n{text}" if text else "", end="\n" if text else "")
    if args.json:
        _write_json(args.json, reports)
    unprepared = [report for report in reports if not report.is_prepared]
    if all(report.absent for report in reports):
        say(f"\nNothing is there. The root is {_root()}; --root or DETECTRON2_DATASETS changes it.")
    if unprepared or all(report.absent for report in reports):
        say(_how_to_prepare(unprepared or reports))
    if all(report.absent for report in reports):
        return 1
    return int(any(report.failures for report in reports))


def _show(args: argparse.Namespace) -> int:
    from stseg.tools import make_sheet, write_page, write_sheet

    _register(args.data)
    listed = _find(args.name, _folders(args.folder))
    if not listed.pairs:
        reasons = [listed.absent, *(f"{f.text}. {f.cure}" for f in listed.findings)]
        raise ValueError(f"show: expected images of {args.name}, got none. {' '.join(reasons)}")
    sheet = make_sheet(listed, args.n, seed=args.seed, classes=args.classes or "")
    output = args.output or (None if args.html else Path(f"{args.name}.png"))
    for flag, path, write in (("--output", output, write_sheet), ("--html", args.html, write_page)):
        if path is not None:
            check_output(path, flag, _read_files(args))
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, sheet)
            say(f"{len(sheet.cards)} of {len(listed.pairs)} images: {path}")
    return 0


def _read_files(args: argparse.Namespace) -> dict[str, str]:
    """Files that the flags name."""
    return {f"--folder {entry[0]}": entry[3] for entry in args.folder or ()}


def _find(name: str, folders: dict[str, Listed]) -> Listed:
    if name in folders:
        return folders[name]
    require_detectron2(f"the registered data set {name!r} (folders do without)")
    from stseg.data import known_names
    from stseg.tools.verification import find_registered

    if name not in known_names():
        known = "\n  ".join([*folders, *known_names()])
        hint = did_you_mean(name, [*folders, *known_names()])
        raise ValueError(f"NAME: expected a data set, got {name!r}.{hint} Known:\n  {known}")
    return find_registered(name)


def _registered_names() -> list[str]:
    require_detectron2("verify all (single folders do without)")
    from stseg.data import distinct_names

    return distinct_names()


def _folders(entries: Sequence[Sequence[str]] | None) -> dict[str, Listed]:
    found = {entry[0]: list_folder(folder_target(*entry)) for entry in entries or ()}
    for entry in entries or ():
        _tell_names(entry[0], Vocabulary.parse(Path(entry[3])))
    return found


def _tell_names(name: str, vocabulary: Vocabulary) -> None:
    """Say what is probably not meant in the names of one's own data."""
    for note in vocabulary.notes():
        logger.warning("Names of %s: %s", name, note)


def _register(flags: Sequence[str] | None) -> list[str]:
    """Register what --data describes; the names."""
    if not flags:
        return []
    require_detectron2("--data (--folder does without)")
    from stseg.config import parse_flag
    from stseg.data import dataset_vocabulary, register_data

    entries = [parse_flag(flag) for flag in flags]
    for entry in entries:
        register_data(entry)
        _tell_names(entry["name"], dataset_vocabulary(entry["name"]))
    return [entry["name"] for entry in entries]


def _how_to_prepare(reports: Sequence[Report]) -> str:
    """The commands that make what is missing, each once."""
    told = " ".join(report.absent for report in reports)
    commands = dict.fromkeys(re.findall(r"`(stseg data prepare [^`]+)`", told))
    if not commands:
        return ""
    root = f" --root {shlex.quote(_root())}"
    lines = [f"  {command}{'' if '--out' in command else root}" for command in commands]
    return "\n".join(["What a download lacks is made by", *lines, "(see datasets/README.md)."])


def _root() -> str:
    return os.environ.get("DETECTRON2_DATASETS") or "datasets"


def _write_json(path: Path, reports: Sequence[Report]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": "stseg.verification",
        "schema": 1,
        "root": _root(),
        "data_sets": [r.as_json() for r in reports],
    }
    write_atomically(path, json.dumps(content, indent=1).encode("utf-8"))


def _progress(name: str, total: int, items: Iterable[FileFacts]) -> Iterable[FileFacts]:
    """With a bar on stderr, if it takes longer than a second."""
    return tqdm(items, name, total, leave=False, unit=" images", delay=1.0)


def _parser(program: str) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        program,
        description=__doc__,
        epilog=_EXAMPLES.replace("PROGRAM", program),
        formatter_class=raw,
    )
    commands = parser.add_subparsers(required=True, metavar="verify | show")
    for name, add_arguments, run, brief, description, epilog in (
        ("verify", _add_verify, _verify, "check data sets", _VERIFY, _VERIFY_EXAMPLES),
        ("show", _add_show, _show, "draw images with labels", _SHOW, _SHOW_EXAMPLES),
    ):
        command = commands.add_parser(
            name,
            help=brief,
            description=description,
            epilog=epilog.replace("PROGRAM", program),
            formatter_class=raw,
        )
        add_arguments(command)
        command.add_argument("--root", metavar="DIR", help="instead of $DETECTRON2_DATASETS")
        command.add_argument(
            "--folder",
            nargs=4,
            action="append",
            metavar=("NAME", "IMAGES", "LABELS", "NAMES_FILE"),
            help='a folder data set, as in DATASETS.FOLDERS; "" as LABELS for images only; keys '
            "may follow LABELS: labels,values=0:0,255:1, see datasets/README.md",
        )
        command.add_argument(
            "--data",
            action="append",
            metavar="NAME=FORMAT:PATH",
            help="data of another format, see datasets/README.md",
        )
        command.set_defaults(run=run)
    return parser


def _add_verify(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="registered data sets, or `all`")
    add("--jobs", type=_count, default=1, metavar="N", help="threads; default: %(default)s")
    add("--limit", type=_count, default=0, metavar="N", help="look into N pairs of each data set,"
        " evenly spread; default: all")  # fmt: skip
    add("--decode", action="store_true", help="decode the images, too: slower, finds damage inside")
    add("--strict", action="store_true", help="fewer images than officially are a finding")
    add("--json", type=Path, metavar="FILE", help="write findings and histograms to a file")


def _add_show(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", help="registered data set, or that of --folder or --data")
    add("--n", type=_count, default=12, metavar="N", help="images; default: %(default)s")
    add("--seed", type=int, default=0, metavar="N", help="of the choice; default: %(default)s")
    add("--classes", metavar="NAMES", help='only images with one of these: "sky; car"')
    add("--output", type=Path, metavar="FILE", help="sheet to write; default: NAME.png")
    add("--html", type=Path, metavar="FILE", help="page to write, with the images beside theirs")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {value}")
    return value
