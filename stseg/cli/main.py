"""Open-vocabulary semantic segmentation for Detectron2."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from importlib import import_module

import stseg
from stseg.utils import explanation, hide_old_ways

#: Subcommand -> what it is for; each has a file of its name beside this one, with `run(argv)`.
COMMANDS = {
    "predict": "segment images, folders and videos with any words",
    "serve": "a page in the browser and a REST endpoint that segment with any words",
    "train": "train a model on labelled data",
    "adapt": "adapt a model to images without labels",
    "evaluate": "evaluate a model on data sets with labels",
    "score": "score label maps of any origin",
    "compare": "compare two results",
    "report": "a page about a result",
    "data": "verify, show and prepare data sets",
    "vocab": "words: what is wrong with a list of names, and how answers move with them",
    "export": "write a trained network as graphs, ONNX or torch.export",
    "weights": "published weights by name: list, get and check them",
    "reproduce": "measure a published figure again",
    "doctor": "what is wrong with an installation, each finding with its cure",
}

_EPILOG = """\
commands:
{}

`stseg COMMAND --help` tells more of each. exit code: 0 = done, 1 = something is wrong or missing,
2 = wrong use."""


def stseg_command(argv: Sequence[str] | None = None) -> int:
    """Command line, see `--help`.

    Returns:
        What the subcommand does. Errors that explain themselves leave through `SystemExit(1)`.
    """
    lines = [f"  {name:<12}{what}" for name, what in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        "stseg",
        description=__doc__,
        epilog=_EPILOG.format("\n".join(lines)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=stseg.__version__)
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("stseg").setLevel(logging.INFO)
    if "--verbose" not in args.rest:
        hide_old_ways()
    try:
        return import_module(f"stseg.cli.{args.command}").run(args.rest)
    except (OSError, ValueError) as error:
        if not explanation(error):
            raise
        parser.exit(1, f"stseg {args.command}: {explanation(error)}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Stopped.\n")
