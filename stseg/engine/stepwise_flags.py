"""The command line of a small training: its recipe as flags."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any


def parse_stepwise(
    module: str,
    description: str | None,
    recipe: Any,
    count: int,
    argv: Sequence[str] | None = None,
    splits: Sequence[str] = (),
) -> argparse.Namespace:
    """The command line `train --out DIR` and `evaluate --weights FILE`; starts logging.

    Args:
        module: name of the training's module.
        description: its docstring.
        recipe: dataclass instance; each field becomes a flag of `train`, with its value.
        count: examples that `train` judges on, unless told otherwise.
        argv: arguments, those of the process if None.
        splits: that `evaluate` may judge on, the default first; () for no choice.

    Returns:
        The flags; for `train`, `recipe` is that of the flags.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("train")
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("--eval-period", type=int, default=500)
    run.add_argument("--count", type=int, default=count)
    for name, value in asdict(recipe).items():
        run.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    judge = commands.add_parser("evaluate")
    judge.add_argument("--weights", type=Path, required=True)
    if splits:
        judge.add_argument("--split", choices=splits, default=splits[0])
    judge.add_argument("--count", type=int, default=200)
    for command in (run, judge):
        command.add_argument("--device", default="cpu", help="as torch names it; default cpu")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    if args.command == "train":
        args.recipe = type(recipe)(**{name: getattr(args, name) for name in asdict(recipe)})
    return args
