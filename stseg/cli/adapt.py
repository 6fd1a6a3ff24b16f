"""Adapt a model to images without labels, by self-training in rounds."""

from collections.abc import Sequence

from stseg.engine import train_command


def run(argv: Sequence[str]) -> int:
    """`stseg adapt`, see `--help`; returns 0."""
    train_command(argv, "stseg adapt", "adapt")
    return 0
