"""Words: what is wrong with a list of names, and how a model's answers move with the words.

lint looks for duplicates, empty names, synonyms in two classes, glued words ("airconditioner"),
plurals, separators and articles inside names, and synonyms that look like classes. With a config it
also asks that model's text tower which names it cuts off, and which it hardly tells apart.

probe asks a model about pictures again and again: as the list is, in another order, with everyday
names beside it, and with every synonym as the only name of its class.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stseg.structures import Vocabulary
from stseg.tools import WRONG, observations_text
from stseg.tools.vocabulary import lint
from stseg.utils import say

logger = logging.getLogger(__name__)

_EXAMPLES = """\
examples:
  stseg vocab lint names.txt
  stseg vocab lint "cat, kitten; traffic light; trafficlight"
  stseg vocab lint vocab:ade20k_150 --config configs/mini/stseg_mini.yaml --near 0.99
  stseg vocab probe "cat, kitten; sofa; wall" photos/ --weights weights://sed-convnextB \\
      --config configs/stseg/sed_convnextB_768.yaml
  stseg vocab probe names.json --data mine=folder:street --config configs/mini/stseg_mini.yaml

exit code: 0 = nothing wrong, notes at most; 1 = duplicates, empty names or a list that cannot be
used, 2 = wrong use."""

_NAMES = '"cat, kitten; dog" (commas: synonyms, semicolons: classes), .txt, .json or vocab:LIST'


def run(argv: Sequence[str]) -> int:
    """`stseg vocab`, see `--help`.

    Returns:
        0, or 1 where `lint` finds something wrong.

    Raises:
        ValueError: for names, data or a config that cannot be used.
        OSError: for a file that is missing.
    """
    parser = argparse.ArgumentParser(
        "stseg vocab",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="lint | probe")
    command = commands.add_parser("lint", help="look for faults in a list of names")
    add = command.add_argument
    add("names", metavar="NAMES", help=_NAMES)
    _add_model(command, required=False)
    add("--near", type=float, metavar="COSINE", help="names above it are called near; default 0.95")
    add("--json", action="store_true", help="all findings, as JSON")
    command.set_defaults(run=_lint)
    command = commands.add_parser("probe", help="see how answers move with the words")
    add = command.add_argument
    add("names", metavar="NAMES", help=_NAMES)
    add("images", nargs="*", metavar="IMAGE", help="files, folders, globs")
    _add_model(command, required=True)
    add("--distractors", metavar="NAMES", help="names beside the list; default: everyday ones")
    add(
        "--data",
        metavar="NAME=FORMAT:PATH",
        help="labelled pictures instead, whose classes are those of NAMES in order, see "
        "datasets/README.md; or the NAME of a known data set",
    )
    add("--first", type=int, default=20, metavar="N", help="pictures; default 20, 0 for all")
    add("--json", action="store_true", help="all figures, as JSON")
    command.set_defaults(run=_probe)
    args = parser.parse_args(argv)
    if args.run is _probe and bool(args.images) == bool(args.data):
        parser.error("probe: expected images or --data, got both or neither.")
    if args.weights and not args.config:
        parser.error("--weights: expected --config with it, got it alone.")
    return args.run(args)


def _add_model(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument("--config", required=required, metavar="YAML", help="of the model to ask")
    command.add_argument("--weights", metavar="FILE", help="instead of the config's MODEL.WEIGHTS")
    command.add_argument("--device", help='such as "cpu"; default: the config\'s, if it is there')


def _lint(args: argparse.Namespace) -> int:
    found = lint(args.names)
    wrong = any(seen.status == WRONG for seen in found)
    asked = bool(args.config) and not wrong
    if asked:
        from stseg.config import setup_cfg
        from stseg.tools.vocabulary import NEAR, lint_with_model, text_encoder_of, unknown_words

        cfg, vocabulary = setup_cfg(args.config, device=args.device), Vocabulary.parse(args.names)
        encoder = text_encoder_of(cfg, args.weights)
        near = NEAR if args.near is None else args.near
        found += lint_with_model(vocabulary, encoder, near)
        found += unknown_words(vocabulary, encoder, cfg.MODEL.CLIP.PRETRAINED)
        wrong = any(seen.status == WRONG for seen in found)
    if args.json:
        say(json.dumps([asdict(seen) for seen in found], indent=2))
        return int(wrong)
    if found:
        say(observations_text(found))
    elif not args.config:
        say("Nothing to remark. With --config a model is asked as well.")
    else:
        say("Nothing to remark.")
    if args.config and wrong and not asked:
        say("The model was not asked: the list cannot be used as it is.")
    return int(wrong)


def _probe(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from stseg.config import setup_cfg
    from stseg.predictor import Predictor
    from stseg.tools.vocabulary import everyday_words, lone_words, measure, probe_variants, words_of

    vocabulary = Vocabulary.parse(args.names)
    for note in vocabulary.notes():
        logger.warning("NAMES: %s", note)
    records, read = _labelled(args, vocabulary) if args.data else (_pictures(args.images), None)
    records = records[: args.first or None]
    pool = words_of(args.distractors) or everyday_words(vocabulary)
    asked: dict[Any, Any] = {**probe_variants(vocabulary, pool), **lone_words(vocabulary)}
    predictor = Predictor(setup_cfg(args.config, device=args.device), weights=args.weights)
    rows = measure(predictor, tqdm(records, unit="picture", disable=None), asked, read)
    words = [row for row in rows if isinstance(row["variant"], tuple)]
    whole = [row for row in rows if row not in words]
    if args.json:
        say(json.dumps(rows, indent=2))
    else:
        _show(whole, words, vocabulary.names, len(records))
    return 0


def _pictures(inputs: Sequence[str]) -> list[dict[str, str]]:
    from stseg.data import find_media, is_video

    paths = [path for path in find_media(inputs, "IMAGE") if not is_video(path)]
    if not paths:
        raise ValueError(f"IMAGE: expected images, got only videos in {', '.join(inputs)}.")
    return [{"file_name": str(path)} for path in paths]


def _labelled(args: argparse.Namespace, vocabulary: Vocabulary) -> tuple[list[Any], Any]:
    """Records of a data set, and the reader of its labels."""
    from detectron2.data import DatasetCatalog

    from stseg.config import parse_entry, parse_flag
    from stseg.data import (
        check_registered,
        dataset_label_reader,
        dataset_vocabulary,
        register_data,
    )

    name = args.data
    if "=" in name:
        entry = parse_entry(parse_flag(name), "--data")
        logger.info(register_data(entry))
        name = entry.name
    check_registered(name, "--data")
    known, records = dataset_vocabulary(name), DatasetCatalog.get(name)
    if len(known) != len(vocabulary):
        raise ValueError(
            f"NAMES: expected the {len(known)} classes of {name} in their order, got "
            f"{len(vocabulary)}. Other words may stand in their places, such as {known.names[0]!r}."
        )
    if not all("sem_seg_file_name" in record for record in records):
        raise ValueError(f"--data: expected labels, got {name}, which has none. Give its images.")
    return records, dataset_label_reader(name)


def _show(
    whole: Sequence[Mapping], words: Sequence[Mapping], names: Sequence[str], pictures: int
) -> None:
    """The three tables: the whole list, its classes, its synonyms."""
    given, *others = whole
    scored = "mIoU" in given
    heads = ["asked", "names", "pixels changed", "confidence"] + ["mIoU", "pACC"] * scored
    table = [
        [row["variant"], str(row["names"]), _percent(row["changed"]), f"{row['confidence']:.3f}"]
        + [_percent(row[key]) for key in ("mIoU", "pACC") if scored]
        for row in whole
    ]
    _table(f"{pictures} pictures", heads, table)
    there = [i for i, share in enumerate(given["stays"]) if share is not None]
    heads = ["class", *(f"stays: {row['variant']}" for row in others)]
    heads += [f"IoU: {row['variant']}" for row in whole if scored]
    table = [
        [names[i], *(_percent(row["stays"][i]) for row in others)]
        + [_percent(row["IoU"][i]) for row in whole if scored]
        for i in there
    ]
    _table("of the pixels that a class has as given", heads, table)
    if words:
        heads = ["class", "asked as", "stays", "pixels changed", "confidence"]
        table = []
        for row in words:
            i, word = row["variant"]
            line = [names[i], word, _percent(row["stays"][i]), _percent(row["changed"])]
            scores = [_percent(row["IoU"][i]), _percent(row["mIoU"])] if scored else []
            table.append([*line, f"{row['confidence']:.3f}", *scores])
        _table("one synonym alone", heads + ["IoU", "mIoU"] * scored, table)
    if len(there) < len(names):
        say(f"\n{len(names) - len(there)} classes have no pixel in these pictures as given.")


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from tabulate import tabulate

    say(f"\n{title}\n{tabulate(rows, heads, 'simple', disable_numparse=True)}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
