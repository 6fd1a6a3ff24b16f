"""A page in the browser and a REST endpoint that segment pictures with any words."""

from collections.abc import Sequence

from stseg.tools.serving import serving_command


def run(argv: Sequence[str]) -> int:
    """`stseg serve`, see `--help`; returns what `serving_command` does."""
    return serving_command(argv)
