"""The command line that all scripts in `datasets/prepare_scripts/` share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from stseg.data import data_root
from stseg.tools.preparation.runner import Outcome, check, prepare, unexpected
from stseg.tools.preparation.tasks import Benchmark, MissingDataError, Task
from stseg.utils import say

_SHOWN = 20

_EPILOG = """\
exit code: 0 = done, or nothing to find fault with; 1 = files failed, differ, are missing or do not
belong there; 2 = wrong use or missing download; 130 = stopped. A stopped run goes on where it was
when the command is repeated. Nothing is ever fetched.

"""


def main(
    benchmark: Benchmark, argv: Sequence[str] | None = None, program: str | None = None
) -> int:
    """Prepare, check or announce one benchmark.

    Args:
        benchmark: what to do.
        argv: flags; those of the process by default.
        program: for messages; the name of the script by default.

    Returns:
        Exit code, see `--help`. Wrong flags leave through SystemExit(2).
    """
    parser = _parser(benchmark, program)
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs: expected a number from 1, got {args.jobs}.")
    out = args.root if args.out is None else args.out
    try:
        tasks = _gather(benchmark, args.root, args.splits)
    except (MissingDataError, ValueError) as error:
        return _fail(benchmark, str(error), hint=isinstance(error, MissingDataError))
    try:
        if args.dry_run:
            return _announce(tasks, out, args.force)
        if args.check:
            outcomes = _watched(check(tasks, out, jobs=args.jobs), len(tasks), "checked")
            return _report_check(benchmark, outcomes, unexpected(tasks, out))
        outcomes = prepare(tasks, out, jobs=args.jobs, force=args.force)
        return _report_run(benchmark, _watched(outcomes, len(tasks), "prepared"), out)
    except KeyboardInterrupt:
        _complain("Stopped. Repeat the command to go on.")
        return 130
    except BrokenProcessPool:
        _complain(
            "A worker process was killed, perhaps for want of memory. Repeat the command to go on, "
            "with fewer --jobs."
        )
        return 1


def _parser(benchmark: Benchmark, program: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program,
        description=f"Make the label maps of {benchmark.title} from the official download.",
        epilog=_EPILOG + benchmark.download,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=data_root(),
        help="folder that holds all benchmarks ($DETECTRON2_DATASETS, else ./datasets)",
    )
    parser.add_argument("--out", type=Path, help="other root for what is written (the root)")
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=list(benchmark.splits),
        metavar="SPLIT",
        help=f"of {', '.join(benchmark.splits)} (all whose download is there)",
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--check",
        action="store_true",
        help="compute everything anew, compare with the files there, write nothing",
    )
    mode.add_argument("--force", action="store_true", help="also write files that are there")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written")
    return parser


def _gather(benchmark: Benchmark, root: Path, splits: Sequence[str] | None) -> list[Task]:
    """Tasks of the splits asked for; of all whose download is there if none are named."""
    tasks: list[Task] = []
    absent = []
    for split in dict.fromkeys(splits or benchmark.splits):
        try:
            tasks += benchmark.splits[split](root)
        except MissingDataError as error:
            if splits:
                raise
            absent.append((split, str(error)))
    if not tasks:
        raise MissingDataError(absent[0][1])
    for split, reason in absent:
        _complain(f"{benchmark.title}, {split}: left out, {reason}.")
    return tasks


def _announce(tasks: Sequence[Task], out: Path, force: bool) -> int:
    folders: dict[str, list[str]] = {}
    for task in tasks:
        for output in task.outputs:
            folder, name = os.path.split(output)
            folders.setdefault(folder, []).append(name)
    for folder, names in folders.items():
        there = 0 if force else sum((out / folder / name).exists() for name in names)
        say(
            f"{out / folder}: {len(names) - there} of {len(names)} files would be written, "
            f"{names[0]} to {names[-1]}"
        )
    return 0


def _watched(outcomes: Iterable[Outcome], total: int, verb: str) -> Iterable[Outcome]:
    """With a progress bar, if a person watches."""
    return tqdm(outcomes, total=total, unit="image", desc=verb, disable=None)


def _report_run(benchmark: Benchmark, outcomes: Iterable[Outcome], out: Path) -> int:
    written = kept = 0
    problems: list[tuple[str, str]] = []
    for outcome in outcomes:
        written, kept = written + len(outcome.written), kept + len(outcome.kept)
        problems += outcome.problems
    say(f"{benchmark.title}: {written} files written, {kept} were there already, below {out}")
    if problems:
        _complain(f"{len(problems)} raw files failed:")
        for path, problem in problems[:_SHOWN]:
            _complain(f"  {path}: {problem}")
        if len(problems) > _SHOWN:
            _complain(f"  and {len(problems) - _SHOWN} more")
    return 1 if problems else 0


def _report_check(benchmark: Benchmark, outcomes: Iterable[Outcome], extra: Sequence[str]) -> int:
    right = 0
    problems: list[tuple[str, str]] = []
    for outcome in outcomes:
        right += len(outcome.kept)
        problems += outcome.problems
    problems += [(path, "unexpected: no such image in this split") for path in extra]
    for path, problem in problems:
        say(f"{path}: {problem}")
    say(f"{benchmark.title}: {right} files as they should be, {len(problems)} not")
    return 1 if problems else 0


def _fail(benchmark: Benchmark, message: str, hint: bool) -> int:
    _complain(f"{benchmark.title}: {message.removesuffix('.')}.")
    if hint:
        _complain(f"{benchmark.download}\nNothing is fetched by this script.")
    return 2


def _complain(text: str) -> None:
    sys.stderr.write(text + "\n")
