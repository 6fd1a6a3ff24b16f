"""Weights by name: SED's, SAM's, CLIP's, other systems', and the miniatures that ship.

A file is looked for in $STSEG_WEIGHTS, then in $STSEG_CACHE/weights (~/.cache/stseg/weights), and
fetched where it is in neither; what was cut off is gone on with. Its hash is compared with the
table's, or else with that of the file first seen. In configs and on other command lines
weights://NAME stands for the file, in Python Predictor.from_pretrained("NAME") for the system.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from stseg.utils import explanation, say
from stseg.weights import (
    ExtraMissingError,
    Published,
    catalog,
    find,
    get,
    verify,
    whereabouts,
)

_EXAMPLES = """\
examples:
  stseg weights list
  stseg weights get sed-convnextB sam-vit-b
  stseg weights check

exit code: 0 = done, 1 = a file is wrong or cannot be had, 2 = wrong use."""

#: Entry or system -> what `stseg.checkpoint.identify` calls its files, where that is another word.
_KINDS = {
    "STSeg": "stseg",
    "CLIP": "an open_clip ConvNeXt",
    "clip-photo": "an open_clip EfficientNet",
}


def run(argv: Sequence[str]) -> int:
    """`stseg weights`, see `--help`.

    Returns:
        0, or 1 where `check` finds something wrong.

    Raises:
        ValueError: for an unknown name, or a file that is another than expected.
        OSError: for a file that cannot be fetched.
    """
    parser = argparse.ArgumentParser(
        "stseg weights",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="list | get | check")
    command = commands.add_parser("list", help="show what there is, and what is here")
    command.add_argument("--json", action="store_true", help="all that is known, as JSON")
    command.set_defaults(run=_list)
    command = commands.add_parser("get", help="fetch files, and print where they lie")
    command.add_argument("names", nargs="+", metavar="NAME", help="of `stseg weights list`")
    command.set_defaults(run=_get)
    command = commands.add_parser("check", help="read files whole: hash, and what they hold")
    command.add_argument("names", nargs="*", metavar="NAME", help="default: all that are here")
    command.set_defaults(run=_check)
    args = parser.parse_args(argv)
    return args.run(args)


def _list(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    here = [(entry, whereabouts(entry)) for entry in catalog().values()]
    if args.json:
        rows = [{**asdict(entry), "here": path and str(path)} for entry, path in here]
        say(json.dumps(rows, indent=2))
        return 0
    table = [
        (entry.name, entry.system, _size(entry, path), "yes" if path else "no", entry.licence)
        for entry, path in here
    ]
    say(tabulate(table, ("name", "system", "size", "here", "licence"), "simple"))
    return 0


def _size(entry: Published, path: Path | None) -> str:
    size = path.stat().st_size if path else entry.size
    return f"{size / 1e6:.0f} MB" if size else "?"


def _get(args: argparse.Namespace) -> int:
    for name in args.names:
        find(name)  # a slip in the last name shows before the first download
    for name in args.names:
        say(str(get(name)))
    return 0


def _check(args: argparse.Namespace) -> int:
    failed = False
    for name in args.names or catalog():
        entry = find(name)
        path = whereabouts(entry)
        if path is None:
            say(f"not here  {name}")
            continue
        try:
            known = "that of the table" if entry.sha256 else "as first seen"
            say(f"good      {name}: {path}, sha256 {_look(entry, path)}, {known}")
        except ExtraMissingError as error:
            say(f"not here  {name}, which ships, but for what an extra brings: {error}")
        except (OSError, ValueError) as error:
            if not explanation(error):
                raise
            failed = True
            say(f"WRONG     {explanation(error)}")
    return int(failed)


def _look(entry: Published, path: Path) -> str:
    """The hash of a file that is what the table says, and can be read as data."""
    from stseg.checkpoint import identify, read_state_dict

    digest = verify(entry, path)
    kind = identify(read_state_dict(str(path)))
    wanted = _KINDS.get(entry.name) or _KINDS.get(entry.system, entry.system)
    if kind != wanted:
        raise ValueError(
            f"{entry.name}: expected a file of {wanted}, got one that looks like {kind}, {path}. "
            "Remove it to fetch it again."
        )
    return digest
