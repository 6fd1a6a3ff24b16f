"""PASCAL-Context-59 comes in two class orders with the same ids: which one do label maps have?

SED, CAT-Seg, SAN, EBSeg and FC-CLIP sort by the 459-class ids; ov-seg and SCAN put the VOC classes
first. 54 of 59 positions differ, and no id is out of range in either.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stseg.data import load_class_list, read_ids
from stseg.tools.verification.data_set import Target
from stseg.tools.verification.finding import Finding, about_files
from stseg.tools.verification.scan import FileFacts, Histogram, holders, spread

#: Without a witness: so many images with sky, tree or grass of either order at least; ids that are
#: these in the other order cover this share of the labelled pixels, and so many times the share of
#: those here. In the right order they are table, truck and mouse, which are rare or small.
IMAGES, SHARE, TIMES = 10, 0.1, 3.0
#: With a witness: so large a share of the pixels agrees with the other order, at so many images.
AGREEMENT, WITNESSES = 0.9, 16

_SIGNS = ("sky", "tree", "grass")
# The 59 names VOC-20b asks for stand in the order of ov-seg.
_SORTED, _VOC_FIRST, _ALL = "pascal_context_59", "voc_20b", "pascal_context_459"


def order_findings(
    target: Target, facts: Sequence[FileFacts], histogram: Histogram
) -> list[Finding]:
    """Whether the maps follow the other order than the names.

    Where the 459-class maps of the same images lie beside (pc459_* beside pc59_*) they decide;
    elsewhere the places of sky, tree and grass do.
    """
    names = tuple(map(_plain, target.names))
    here, voc_first = read_names(_SORTED), read_names(_VOC_FIRST)
    there = here if names == voc_first else voc_first
    seen = _ask_witnesses(names, there, facts)
    text = f"expected the class order of the names (1 is {names[1]}), got that of " + (
        "ov-seg and SCAN (1 is bicycle)"
        if there == voc_first
        else "SED, CAT-Seg, SAN, EBSeg and FC-CLIP (1 is bag)"
    )
    if seen is not None:
        agrees_here, agrees_there, files = seen
        if agrees_there < AGREEMENT or agrees_there <= agrees_here:
            return []
        proof = f": {100 * agrees_there:.0f} % of the pixels agree with the 459-class maps that way"
        return _finding(target, text + proof, files)
    return _by_places(target, text, (names, there), facts, histogram)


def read_names(stem: str) -> tuple[str, ...]:
    """Names of a shipped class list, blanks and synonyms left out."""
    return tuple(map(_plain, load_class_list(stem)))


def _plain(name: str) -> str:
    squashed = name.split(",")[0].replace(" ", "").lower()
    return "diningtable" if squashed == "table" else squashed


def _by_places(
    target: Target,
    text: str,
    orders: tuple[tuple[str, ...], tuple[str, ...]],
    facts: Sequence[FileFacts],
    histogram: Histogram,
) -> list[Finding]:
    here, there = ([order.index(sign) for sign in _SIGNS] for order in orders)
    files = holders(facts, here + there)
    labelled = max(1 - histogram.share(*target.ignore), 1e-9)
    share_here, share_there = (histogram.share(*ids) / labelled for ids in (here, there))
    tops = [fact.top_id for fact in facts]
    is_other = share_there >= max(SHARE, TIMES * share_here)
    if len(files) < IMAGES or not is_other or tops.count(there[0]) <= tops.count(here[0]):
        return []
    shares = f"{100 * share_there:.0f} % of the labelled pixels, against {100 * share_here:.0f} %"
    return _finding(target, f"{text}: sky, tree and grass then cover {shares}", files)


def _finding(target: Target, text: str, files: Sequence[str]) -> list[Finding]:
    cure = target.cure or "Give the names in the order of the maps."
    return about_files("context-59-order", text, cure, files)


def _ask_witnesses(
    names: tuple[str, ...], there: tuple[str, ...], facts: Sequence[FileFacts]
) -> tuple[float, float, list[str]] | None:
    """Shares of pixels that agree in either order, and the files asked; None without witness."""
    pairs = [
        (f.label, witness)
        for f in facts
        if f.has_ids and (witness := _witness(Path(f.label))) is not None
    ]
    of_all = {name: i for i, name in enumerate(read_names(_ALL))}
    agreeing, pixels, files = np.zeros(2), 0, []
    for label, witness in spread(pairs, WITNESSES):
        ids, truth = read_ids(label), read_ids(witness)
        valid = ids < len(names)
        if ids.shape != truth.shape or not valid.any():
            continue
        for k, order in enumerate((names, there)):
            table = np.array([of_all[name] for name in order])
            agreeing[k] += np.count_nonzero(table[ids[valid]] == truth[valid])
        pixels += np.count_nonzero(valid)
        files.append(label)
    return (*(agreeing / pixels), files) if pixels else None


def _witness(label: Path) -> Path | None:
    """The 459-class map of the same image, where SED's layout would have it."""
    folder = label.parent
    if not folder.name.startswith("pc59_"):
        return None
    path = folder.with_name(folder.name.replace("pc59_", "pc459_")) / f"{label.stem}.tif"
    return path if path.is_file() else None
