"""The images and videos of a folder, and a word on whatever else lies there."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from stseg.data.opening import cure_for

logger = logging.getLogger(__name__)

# What usually lies beside images; only counted where something is left out that may be missed.
_BESIDE = (".txt", ".json", ".csv", ".xml", ".md", ".yaml", ".yml", ".db", ".ini", ".log", ".npz")


def files_of(
    folder: Path, suffixes: Sequence[str], *, recursive: bool = False, without: Path | None = None
) -> list[Path]:
    """The files of a folder with one of the suffixes, in order; hidden ones are left out.

    What is no file but called like one, a pipe or a link that leads nowhere, is among them:
    reading it names it. A folder is a folder, whatever it is called. A warning tells how many files
    of other suffixes, and folders below, are left out.

    Args:
        folder: must exist.
        suffixes: in lower case, with the dot.
        recursive: look into folders below, each once, however many links lead there.
        without: a folder that is left out with all below it.
    """
    found, others, unseen = [], Counter[str](), 0
    for place, below, names in _walk(folder, without):
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in suffixes:
                found.append(Path(place, name))
            else:
                others[suffix or "without a suffix"] += 1
        if not recursive:
            unseen = len(below)
            below.clear()
    tell_left_out(folder, others, unseen)
    return found


def _walk(folder: Path, without: Path | None) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, through links, too, but into no folder twice; without what is hidden."""
    known = {os.path.realpath(folder)}
    if without is not None:
        known.add(os.path.realpath(without))
    for place, folders, names in os.walk(folder, followlinks=True):
        kept = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(place, name))
            if not name.startswith(".") and real not in known:
                known.add(real)
                kept.append(name)
        folders[:] = kept
        yield place, folders, sorted(name for name in names if not name.startswith("."))


def tell_left_out(where: Path | str, others: Counter[str], unseen: int = 0) -> None:
    """Log how many files, by suffix, and folders were left out, and what to do about them."""
    count = sum(others.values())
    kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(others.items()))
    parts = [f"{count} files of other kinds ({kinds})"] if count else []
    parts += [f"{unseen} folders below"] if unseen else []
    if not parts:
        return
    cures = dict.fromkeys(filter(None, map(cure_for, others)))
    is_usual = all(suffix in _BESIDE for suffix in others) and not unseen
    logger.log(
        logging.INFO if is_usual else logging.WARNING,
        " ".join([f"{where}: left out: {' and '.join(parts)}.", *cures]),
    )
