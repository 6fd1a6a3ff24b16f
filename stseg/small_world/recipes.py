"""Recipes of the miniature's trainings, and the command line that shows each as flags."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class CaptionRecipe:
    """What a training of CLIP-mini depends on; saved, so that a resumed run is the same run."""

    steps: int = 5000
    seed: int = 0
    batch: int = 128
    objects: int = 24000
    scenes: int = 24000
    object_size: int = 64
    scene_size: int = 96
    object_share: float = 0.35  # of the steps, at the start: no scenes yet
    mixed_share: float = 0.35  # of the later steps: objects again
    lr: float = 2e-3
    phrases: int = 96


@dataclass(frozen=True)
class PromptRecipe:
    """What a training of SAM-mini depends on; saved, so that a resumed run is the same run."""

    steps: int = 7500
    region_steps: int = 300  # of the steps, at the start: the image encoder, without prompts
    joint_steps: int = 1500  # at the end: image encoder and decoder; between: decoder alone
    seed: int = 0
    region_batch: int = 8
    batch: int = 4
    scenes: int = 1500
    region_lr: float = 2e-3
    lr: float = 1e-3
    joint_lr: float = 5e-4
    weight_decay: float = 0.05
    warmup: int = 60


def parse_args(
    module: str, description: str | None, recipe: Any, count: int, argv: Sequence[str] | None
) -> argparse.Namespace:
    """The command line `train --out DIR` and `evaluate --weights FILE`; starts logging.

    Args:
        module: name of the training's module.
        description: its docstring.
        recipe: dataclass instance; each field becomes a flag of `train`, with its value.
        count: scenes that `train` evaluates.
        argv: arguments, those of the process if None.

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
    judge.add_argument("--split", choices=("dev", "val"), default="dev")
    judge.add_argument("--count", type=int, default=200)
    for command in (run, judge):
        command.add_argument("--device", default="cpu", help="as torch names it; default cpu")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    if args.command == "train":
        args.recipe = type(recipe)(**{name: getattr(args, name) for name in asdict(recipe)})
    return args
