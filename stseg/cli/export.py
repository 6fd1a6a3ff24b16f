"""Write a trained network as graphs."""

from collections.abc import Sequence

from stseg.tools.graph_export import graph_command


def run(argv: Sequence[str]) -> int:
    """`stseg export`, see `--help`; returns what `graph_command` does."""
    return graph_command(argv)
