"""Score a folder of predicted label maps."""

from collections.abc import Sequence

from stseg.evaluation import evaluation_command


def run(argv: Sequence[str]) -> int:
    """`stseg score`, see `--help`; returns what `evaluation_command` does."""
    return evaluation_command(["score", *argv], "stseg")
