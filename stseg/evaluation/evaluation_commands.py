"""Score folders of label maps, compare two results, make a report of one.

Needs NumPy and Pillow only; HTML pages need jinja2, too.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from stseg.config import split_keys, typed_keys
from stseg.data import CODING_KEYS, LabelCoding, LabelDoubts, Naming, coding_of
from stseg.evaluation.confidence_images import pair_confidences
from stseg.evaluation.label_images import pair_folders
from stseg.evaluation.open_vocab import read_similarity
from stseg.evaluation.report import write_report
from stseg.evaluation.result_parts import check_result
from stseg.evaluation.results import (
    Result,
    comparable,
    make_provenance,
    read_result,
    read_results,
    write_result,
)
from stseg.evaluation.scoring import (
    Settings,
    score_pairs,
    summarise,
    warn_of_ignored_classes,
)
from stseg.evaluation.terminal import compare_text, summary_text, unlike_text
from stseg.structures import Vocabulary
from stseg.utils import check_output, read_text, say

logger = logging.getLogger(__name__)

#: What stands before the command where nothing else does.
PROGRAM = "python -m stseg.evaluation"

_EXAMPLES = """\
examples:
  PROGRAM score --pred out/ --gt labels/ --names names.json --output a.json
  PROGRAM compare a.json b.json
  PROGRAM report a.json --photos images/ --output a.html

exit code: 0 = done, 1 = `compare` refused unlike protocols, 2 = wrong use or a faulty file."""

_SCORE = """\
Score predicted label maps. A prediction and its label have the same path below their folders, but
for the suffix (.png, .tif, .tiff). Maps are grey of 8 or 16 bits, or palette indices.
Keys after --gt say what labels of other values, colours or names mean."""

_SCORE_EXAMPLE = """\
example:
  PROGRAM score --pred out/ --gt labels/ --names names.json \\
      --seen "wall; sky" --bootstrap 200 --output a.json


names.json is a list of names in the order of the ids, ["wall", "sky"], or an object with
"classes" and, if you like, "seen" (list of names) and "ignore" (id). Keys follow the labels, as in
--gt masks/,values=0:0,255:1,label_ending=_mask: values, colours, reduce_zero_label, ignore, and
image_ending, label_ending, image_beginning, label_beginning of the files' names; see "Your own
folders" in datasets/README.md."""

_COMPARE = """\
Show the second result beside the first. Results are compared only where data, labels, names,
ignored ids and definitions agree; otherwise the differing fields are named."""

_COMPARE_EXAMPLE = """\
example:
  PROGRAM compare a.json b.json"""

_REPORT = """\
Write a page with a bar per class and the worst images beside their labels. An .html page needs no
other file; the pictures of an .md page lie in a folder beside it."""

_REPORT_EXAMPLES = """\
examples:
  PROGRAM report a.json --output a.html --photos images/
  PROGRAM report a.json --output a.md --worst 5"""


def evaluation_command(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Command line, see `--help`.

    Args:
        argv: those of the process by default; the first is the name of a command.
        program: what they follow, for messages and for the result's record of its making.

    Returns:
        0, or 1 where `compare` refuses. Wrong use and faulty files leave through `SystemExit(2)`.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argument_parser(program)
    args = parser.parse_args(argv)
    try:
        return args.run(args, [*program.split(), *argv])
    except (OSError, ValueError, TypeError, ImportError) as error:
        parser.exit(2, f"{program}: error: {error}\n")


def _score(args: argparse.Namespace, command: Sequence[str]) -> int:
    if args.output is not None:
        named = ("names", "weights", "similarity", "images")
        check_output(args.output, "--output", {f"--{key}": getattr(args, key) for key in named})
    vocabulary = Vocabulary.parse(args.names)
    for note in vocabulary.notes():
        logger.warning("--names: %s", note)
    if args.seen is not None:
        vocabulary = replace(vocabulary, seen=vocabulary.chosen(args.seen, "--seen"))
    interest = None
    if args.interest is not None:
        interest = np.array(vocabulary.chosen(args.interest, "--interest"), dtype=bool)
    similarity = read_similarity(args.similarity, len(vocabulary)) if args.similarity else None
    listed = read_text(args.images, "--images").splitlines() if args.images else None
    args.gt, coding, naming = _labels(args, vocabulary)
    pairs = pair_folders(args.pred, args.gt, listed, naming)
    if args.confidence is not None:
        pairs = pair_confidences(pairs, args.confidence)
    settings = Settings(
        num_classes=len(vocabulary),
        ignore=coding.ignored_ids,
        fold_background=args.fold_background,
        boundary=args.boundary,
        replicates=args.bootstrap,
        seed=args.seed,
    )
    warn_of_ignored_classes(settings.ignore, vocabulary.names)
    doubts, progress = LabelDoubts(coding, vocabulary.names), _progress(len(pairs))
    score = score_pairs(
        pairs, settings, jobs=args.jobs, progress=progress, coding=coding, doubts=doubts
    )
    doubts.check(str(args.gt))
    if doubts.is_one_class:
        logger.warning("%s: %s.", args.gt, doubts.lacking)
    provenance = make_provenance(
        command=command,
        weights=args.weights,
        pred=args.pred,
        gt=args.gt,
        names=args.names,
        similarity=args.similarity,
        confidence=args.confidence,
    )
    provenance |= {} if coding.is_plain else {"label_coding": coding.as_json()}
    provenance |= {} if naming == Naming() else {"file_names": asdict(naming)}
    result = summarise(
        score,
        vocabulary,
        data_set=args.data_set,
        interest=interest,
        similarity=similarity,
        provenance=provenance,
    )
    say(summary_text(result))
    if args.output is not None:
        write_result(args.output, result)
        say(f"Result file: {args.output}")
    return 0


def _labels(args: argparse.Namespace, vocabulary: Vocabulary) -> tuple[Path, LabelCoding, Naming]:
    """Folder, coding and names of the labels, from `--gt DIR,KEY=VALUE,...` and `--ignore`."""
    is_path = Path(args.gt).is_dir()  # whatever its name looks like
    place, given = (args.gt, {}) if is_path else split_keys(args.gt)
    keys = typed_keys(given, "--gt")
    if args.ignore:
        keys["ignore"] = args.ignore
    of_files = [key for key, value in asdict(Naming()).items() if isinstance(value, str)]
    naming = Naming(**{key: keys.pop(key) for key in of_files if key in keys})
    if strange := keys.keys() - set(CODING_KEYS):
        raise ValueError(
            f"--gt: expected the keys {', '.join((*CODING_KEYS, *of_files))}, got "
            f"{', '.join(strange)}. Remove it."
        )
    return Path(place), coding_of(vocabulary, args.names, where="--gt", **keys), naming


def _compare(args: argparse.Namespace, command: Sequence[str]) -> int:
    refused = False
    for name, a, b in _pairs(args.a, args.b, args.data_set):
        if name:
            say(f"{name}:")
        if differing := comparable(a, b):
            refused = True
            sys.stderr.write(unlike_text(a, b, differing, (str(args.a), str(args.b))) + "\n")
        else:
            say(compare_text(a, b, (args.a.stem, args.b.stem)))
    return int(refused)


def _pairs(a: Path, b: Path, data_set: str | None) -> list[tuple[str, Result, Result]]:
    """What to compare with what; with a name where there is more than one pair."""
    first, second = (
        {name: check_result(path, found) for name, found in read_results(path).items()}
        for path in (a, b)
    )
    if data_set is not None or len(first) == len(second) == 1:
        return [("", read_result(a, data_set), read_result(b, data_set))]
    shared = [name for name in first if name in second]
    if not shared:
        raise ValueError(
            f"{b}: expected a data set of {a} ({', '.join(first)}), got {', '.join(second)}."
        )
    return [(name, first[name], second[name]) for name in shared]


def _report(args: argparse.Namespace, command: Sequence[str]) -> int:
    check_output(args.output, "--output", {"result": args.result})
    files = write_report(
        args.output,
        check_result(args.result, read_result(args.result, args.data_set)),
        title=args.title or f"Evaluation of {args.result.stem}",
        pred=args.pred,
        gt=args.gt,
        photos=args.photos,
        worst=args.worst,
    )
    beside = f" and {len(files) - 1} pictures beside it" if files[1:] else ""
    say(f"Report: {files[0]}{beside}")
    return 0


def argument_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """The commands and their flags."""
    parser = argparse.ArgumentParser(
        program,
        description=__doc__,
        epilog=_EXAMPLES.replace("PROGRAM", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="score | compare | report")
    for name, add_arguments, run, brief, description, epilog in (
        ("score", _add_score, _score, "score predicted label maps", _SCORE, _SCORE_EXAMPLE),
        ("compare", _add_compare, _compare, "compare two results", _COMPARE, _COMPARE_EXAMPLE),
        ("report", _add_report, _report, "make a page about a result", _REPORT, _REPORT_EXAMPLES),
    ):
        command = commands.add_parser(
            name,
            help=brief,
            description=description,
            epilog=epilog.replace("PROGRAM", program),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
        command.set_defaults(run=run)
    return parser


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, help="result file to start from")
    parser.add_argument("b", type=Path, help="result file to compare with it")
    parser.add_argument("--data-set", metavar="NAME", help="one of theirs; default: all of both")


def _add_score(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--pred", required=True, type=Path, metavar="DIR", help="predicted label maps")
    add("--gt", required=True, metavar="DIR[,KEY=VALUE...]", help="true label maps; keys say what"
        " their values mean and how the files are called, see below")  # fmt: skip
    add("--names", required=True, type=Path, metavar="FILE", help="names of the classes, by id")
    add("--seen", metavar="NAMES", help='classes seen in training: "a; b" or a .txt or .json file')
    add("--interest", metavar="NAMES", help="classes of interest, likewise")
    add("--ignore", type=int, nargs="+", metavar="ID", help="ids in the labels that are not scored;"
        " default: that of the names file, else 255, or 65535 where 255 is a class")  # fmt: skip
    add("--fold-background", action="store_true", help="the last class is background: predicted ids"
        " from it on count as it (VOC-20b)")  # fmt: skip
    add("--images", type=Path, metavar="FILE", help="names of the images to score, one a line;"
        " default: all")  # fmt: skip
    add("--confidence", type=Path, metavar="DIR", help="confidences of the predictions, grey PNG of"
        " 8 or 16 bits, as `stseg predict --save labels,confidence` writes them (it may be the"
        " folder of --pred): calibration error and risk against coverage, too")  # fmt: skip
    add("--boundary", action="store_true", help="boundary IoU too, at about twice the cost")
    add("--bootstrap", type=int, default=0, metavar="N", help="replicates for 95 %% intervals and"
        " for the test of `compare`, such as 200; default: none")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="of the bootstrap; default: %(default)s")
    add("--jobs", type=int, default=1, metavar="N", help="threads; default: %(default)s")
    add("--data-set", metavar="NAME", help="to be written into the result")
    add("--similarity", type=Path, metavar="FILE", help="(N, N) array in [0, 1] (.npy), how near"
        " two names are: open mIoU too, with credit for near names")  # fmt: skip
    add("--weights", type=Path, metavar="FILE", help="of the model; its hash goes into the result")
    add("--output", type=Path, metavar="FILE", help="result file to write (JSON)")


def _add_report(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("result", type=Path, help="result file")
    add("--data-set", metavar="NAME", help="one of its data sets, where it holds several")
    add("--output", required=True, type=Path, metavar="FILE", help="page to write, .html or .md")
    add("--pred", type=Path, metavar="DIR", help="default: the folder that was scored")
    add("--gt", type=Path, metavar="DIR", help="likewise")
    add("--photos", type=Path, metavar="DIR", help="photographs, named like the label maps")
    add("--worst", type=int, default=12, metavar="N", help="images to show; default: %(default)s")
    add("--title", metavar="TEXT", help="heading of the page")


def _progress(total: int) -> Callable[[int], None] | None:
    """Counts on one line of a terminal; None where nobody watches."""
    if not sys.stderr.isatty():
        return None

    def show(done: int) -> None:
        sys.stderr.write(f"\r{done} of {total}" + ("\n" if done == total else ""))

    return show
