"""Train a model on labelled data, or go on with a run; the first half of `train_net.py`."""

from collections.abc import Sequence

from stseg.engine import train_command


def run(argv: Sequence[str]) -> int:
    """`stseg train`, see `--help`; returns 0."""
    train_command(argv, "stseg train", "train")
    return 0
