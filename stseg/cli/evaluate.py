"""Evaluate a model on data sets with labels; `train_net.py --eval-only`."""

from collections.abc import Sequence

from stseg.engine import train_command


def run(argv: Sequence[str]) -> int:
    """`stseg evaluate`, see `--help`; returns 0."""
    train_command(argv, "stseg evaluate", "evaluate")
    return 0
