"""Checks of the ids in the label maps: pure functions of the facts of one pass."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from stseg.data import LabelDoubts, suggested_values
from stseg.tools.verification.data_set import Target
from stseg.tools.verification.finding import Finding, about_files
from stseg.tools.verification.official import official_for
from stseg.tools.verification.scan import FileFacts, Histogram, holders
from stseg.utils import some_of

#: Share of ignored pixels from which a whole data set is suspect. The most has VOC-20, where
#: background is ignored, about three quarters; its 15/5 training split somewhat more.
MOST_IGNORED = 0.95


def check_ids(
    target: Target,
    facts: Sequence[FileFacts],
    histogram: Histogram,
    explained: Collection[int] = (),
) -> list[Finding]:
    """Ids that are neither classes nor ignored, or must not be there.

    Args:
        target: the measure.
        facts: of the files.
        histogram: of the facts.
        explained: ids that another finding deals with already.
    """
    outside = _outside(target, histogram.ids, explained)
    withheld = histogram.ids[np.isin(histogram.ids, target.withheld)]
    last = len(target.names) - 1
    text = (
        f"expected ids 0 to {last} or the ignored {some_of(target.ignore, 8)}, got "
        f"{some_of(outside, 8)} ({_percent(histogram.share(*outside))} of the pixels) in {{count}} "
        "label maps"
    )
    leak = ", ".join(f"{i} {target.names[i]}" for i in withheld[:8].tolist())
    return about_files(
        "ids-out-of-range", text, _hint(target, outside, histogram), holders(facts, outside)
    ) + about_files(
        "withheld-classes",
        f"expected no unseen class in a zero-shot training split, got {leak} in {{count}} label "
        "maps",
        target.remedy,
        holders(facts, withheld),
    )


def check_histogram(
    target: Target, facts: Sequence[FileFacts], histogram: Histogram, *, whole: bool
) -> list[Finding]:
    """Share of ignored pixels, and classes that never occur.

    Args:
        target: the measure.
        facts: of the files.
        histogram: of the facts.
        whole: all official images were looked at.
    """
    if not histogram.num_images:
        return []
    findings = []
    ignored = histogram.share(*target.ignore)
    if ignored >= MOST_IGNORED:
        findings.append(
            Finding(
                "mostly-ignored",
                f"expected classes in the label maps, got {_percent(ignored)} of the pixels "
                f"ignored ({some_of(target.ignore, 8)})",
                f"Wrong maps, or an ignored id that is a class. {target.remedy}",
            )
        )
    empty = [f.label for f in facts if f.has_ids and np.isin(f.ids, target.ignore).all()]
    findings += about_files(
        "nothing-labelled",
        "{count} label maps hold ignored pixels only",
        "No harm; they teach nothing and count nothing.",
        empty,
        is_note=True,
    )
    return findings + _never_seen(target, histogram, whole)


def check_coding(target: Target, facts: Sequence[FileFacts]) -> list[Finding]:
    """Values that the data set gives no meaning, and an ignored one that seems to have one."""
    coding = target.coding
    if coding is None:
        return []
    strange = sorted({value for fact in facts for value in fact.strange})
    files = [fact.label for fact in facts if fact.strange]
    key = "colours" if coding.is_colour else "values"
    shown = coding.shown(strange)
    findings = about_files(
        "values-without-meaning",
        f"expected {key} that the data set gives a meaning, got {some_of(shown, 8)} in {{count}} "
        "label maps",
        f"Add {shown[0]}:CLASS to {key}, or {shown[0]}:ignore." if shown else "",
        files,
    )
    doubts = LabelDoubts(coding, target.names)
    for fact in facts:
        if fact.has_ids:
            ids = fact.ids[(fact.ids >= 0) & (fact.ids < len(target.names))]
            doubts.add(ids.tolist(), bool(np.isin(fact.ids, target.ignore).any()))
    if doubts.is_doubtful:
        findings.append(Finding("ignored-class", doubts.text, doubts.cure))
    return findings


def _never_seen(target: Target, histogram: Histogram, whole: bool) -> list[Finding]:
    classes = set(range(len(target.names))) - set(target.withheld)
    unseen = sorted(classes - set(histogram.ids.tolist()))
    if not unseen:
        return []
    official = official_for(target.name)
    known = official.absent if official else None
    # A zero-shot split names all classes; those it withholds are not counted here.
    allowed = None if known is None else max(known - len(target.withheld), 0)
    if official and not whole:
        return []  # a sample: the table says how many classes it has
    wrong = whole and allowed is not None and len(unseen) > allowed
    names = [f"{i} {target.names[i].split(',')[0]}" for i in unseen]
    return [
        Finding(
            "classes-never-seen",
            f"{len(unseen)} of {len(target.names)} classes are in none of the "
            f"{histogram.num_images} label maps: {some_of(names, 8)}",
            target.remedy if wrong else "",
            is_note=not wrong,
        )
    ]


def _hint(target: Target, outside: np.ndarray, histogram: Histogram) -> str:
    """What ids out of range point at."""
    count = len(target.names)
    if not len(outside):
        return ""
    if outside.tolist() == [count] and not target.cure:
        return (
            f"Ids seem to run from 1 to {count}: subtract 1, or give reduce_zero_label=true. If "
            f"{count} means 'no class', say so: \"ignore\": {count} in the names file."
        )
    if set(outside.tolist()) <= {255, 65535}:
        return (
            f"{some_of(outside, 8)} usually means 'no class': say so with \"ignore\" in the names "
            f"file, now {some_of(target.ignore, 8)}. {target.cure}"
        )
    if target.coding is not None:
        return target.remedy.rstrip(".") + suggested_values(histogram.ids, count) + "."
    return target.remedy


def _outside(target: Target, ids: np.ndarray, explained: Collection[int]) -> np.ndarray:
    allowed = [*range(len(target.names)), *target.ignore, *explained]
    return ids[~np.isin(ids, allowed)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
