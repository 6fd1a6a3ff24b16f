"""Check data sets, look at them, and prepare those whose download needs it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from stseg.tools import data_command

_ABOUT = """\
Check data sets, look at them, and prepare those whose download needs it.

  stseg data verify   check prepared data sets
  stseg data show     draw images with their labels
  stseg data prepare  make label maps of an official download; or the small world, from nothing

`stseg data verify --help` tells more, and so do the others."""


def run(argv: Sequence[str]) -> int:
    """`stseg data`, see `--help`; returns what the command does."""
    parser = argparse.ArgumentParser(
        "stseg data", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("verify", "show", "prepare"))
    command = parser.parse_args(argv[:1]).command
    return _prepare(argv[1:]) if command == "prepare" else data_command(argv, "stseg data")


def _prepare(argv: Sequence[str]) -> int:
    from stseg.small_world import small_world_command
    from stseg.tools import preparation

    program = "stseg data prepare"
    benchmarks = {
        "coco_stuff": preparation.COCO_STUFF,
        "ade20k_150": preparation.ADE20K_150,
        "ade20k_full": preparation.ADE20K_FULL,
        "pascal_context_59": preparation.PASCAL_CONTEXT_59,
        "pascal_context_459": preparation.PASCAL_CONTEXT_459,
        "voc": preparation.VOC,
        "cityscapes": preparation.CITYSCAPES,
    }
    parser = argparse.ArgumentParser(
        program, description=f"`{program} NAME --help` tells what download it needs, and its flags."
    )
    names = [*benchmarks, "small_world"]
    parser.add_argument("name", choices=names, metavar="NAME", help=", ".join(names))
    name = parser.parse_args(argv[:1]).name
    if name == "small_world":
        return small_world_command(argv[1:], f"{program} {name}")
    return preparation.main(benchmarks[name], argv[1:], f"{program} {name}")
