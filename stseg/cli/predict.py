"""Segment images, folders and videos with any words."""

from collections.abc import Sequence

from stseg.tools.prediction import prediction_command


def run(argv: Sequence[str]) -> int:
    """`stseg predict`, see `--help`; returns what `prediction_command` does."""
    return prediction_command(argv)
