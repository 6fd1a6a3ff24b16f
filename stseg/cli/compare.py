"""Compare two results."""

from collections.abc import Sequence

from stseg.evaluation import evaluation_command


def run(argv: Sequence[str]) -> int:
    """`stseg compare`, see `--help`; returns what `evaluation_command` does."""
    return evaluation_command(["compare", *argv], "stseg")
