"""Make a page about a result."""

from collections.abc import Sequence

from stseg.evaluation import evaluation_command


def run(argv: Sequence[str]) -> int:
    """`stseg report`, see `--help`; returns what `evaluation_command` does."""
    return evaluation_command(["report", *argv], "stseg")
