#!/usr/bin/env python
"""Writes docs/reference/config.md: every key of stseg, its default and the comment above it.

The comments of stseg/config are the reference; a test holds that the page is as they are now.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "config.md"
#: Files in order, with their titles.
SOURCES = {
    "data": "Data and augmentation",
    "model": "Model",
    "mask_head_keys": "Mask heads of EBSeg and CEL",
    "ebseg_keys": "EBSeg",
    "cel_keys": "CEL",
    "pgseg_keys": "PGSeg",
    "self_training": "Self-training",
    "solver": "Training and evaluation",
}
#: What "cfg" may stand for in a function that adds keys to a section.
SECTIONS = ("SELF_TRAINING", "MODEL.EBSEG", "MODEL.CEL")
_HEAD = """\
# Config keys

Every key that stseg adds to Detectron2's, or gives another default. Detectron2's own are in
[its reference](https://detectron2.readthedocs.io/en/latest/modules/config.html). A value is set in
YAML, or behind a command as `KEY VALUE`; a wrong one is refused by name, with what is expected.

Made by `dev/config_reference.py` from the comments in `stseg/config`.
"""
_ASSIGNMENT = re.compile(r"    (\w+)\.([A-Z][A-Z0-9_.]*) = ")
_OTHER_NAME = re.compile(r"    (\w+) = cfg\.([A-Z][A-Z0-9_.]*)(?: = CN\(\))?$")


def groups_of(source: str) -> Iterator[tuple[list[str], str]]:
    """Keys that stand together below one comment, and the comment as one text.

    Args:
        source: text of a file with `add_*` functions.
    """
    keys: list[str] = []
    comment: list[str] = []
    names = {"cfg": ""}
    for line in source.splitlines():
        assigned = _ASSIGNMENT.match(line)
        if renamed := _OTHER_NAME.match(line):
            names[renamed[1]] = f"{renamed[2]}."
        if line.startswith("    # "):
            if keys:
                yield keys, " ".join(comment)
                keys, comment = [], []
            comment.append(line.removeprefix("    # "))
        elif assigned and not line.endswith("= CN()"):
            keys.append(names[assigned[1]] + assigned[2])
        elif not line.startswith("    "):  # the end of a function
            if keys:
                yield keys, " ".join(comment)
            keys, comment = [], []
    if keys:
        yield keys, " ".join(comment)


def page() -> str:
    """The page in Markdown."""
    from detectron2.config import get_cfg

    from stseg.config import add_stseg_config

    cfg = get_cfg()
    add_stseg_config(cfg)
    known = dict(_leaves(cfg, ""))
    parts = [_HEAD]
    for stem, title in SOURCES.items():
        parts.append(f"## {title}\n")
        source = (ROOT / "stseg" / "config" / f"{stem}.py").read_text(encoding="utf-8")
        for keys, comment in groups_of(source):
            for key in keys:
                places = [key, *(f"{section}.{key}" for section in SECTIONS)]
                found = [place for place in places if place in known]
                if not found:
                    raise KeyError(f"{key} of {stem}.py: expected it in the config or in SECTIONS")
                parts += [f"- `{place}`: `{known[place]!r}`" for place in found]
            parts.append(f"\n    {comment}\n" if comment else "")
    return "\n".join(parts).rstrip() + "\n"


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def main() -> int:
    """Command line, see `--help`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is fresh")
    text = page()
    if parser.parse_args().check:
        fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        sys.stdout.write(f"{PAGE.relative_to(ROOT)} is {'fresh' if fresh else 'stale'}\n")
        return not fresh
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
