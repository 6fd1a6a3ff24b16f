"""Which classes of the target stage 1 has seen: the two weights of eq. 6 hang on it.

A class is seen if it is the same thing as a class of stage 1, or stage 1 had kinds of it ("wall"
after "wall-brick"), see `stseg.data.datasets.class_matching`. Where no source is given nothing is
known to be seen, and every class counts as unseen. A target whose classes are all seen is the
common case of a model that adapts to another place, and no mistake.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tabulate import tabulate

from stseg.data import MATCH_RULES, Match, known_classes
from stseg.structures import Vocabulary, VocabularyLike


def mark_seen(vocabulary: Vocabulary, source: VocabularyLike | None) -> Vocabulary:
    """Mark the classes that the source vocabulary has.

    Args:
        vocabulary: of the target.
        source: names of stage 1, in any form that `Vocabulary.parse` reads; None where not known:
            marks that the vocabulary brings along stay, and without any every class counts as
            unseen.

    Returns:
        The same classes, each with a mark.
    """
    if source is None:
        if vocabulary.seen is not None:
            return vocabulary
        return replace(vocabulary, seen=(False,) * len(vocabulary))
    matches = known_classes(_parsed(source), vocabulary)
    return replace(vocabulary, seen=tuple(match is not None for match in matches))


def seen_record(
    vocabulary: Vocabulary, alpha: float, source: VocabularyLike | None = None
) -> dict[str, Any]:
    """What eq. 6 makes of the classes, as plain values for JSON.

    Args:
        vocabulary: T classes, marked by `mark_seen`; without marks all count as unseen.
        alpha: weight of seen classes in eq. 6, in [0, 1]; 1 - alpha for unseen ones.
        source: the source vocabulary, to tell which of its classes each one is.

    Returns:
        "seen" and "unseen", how many; "classes", for each "name", "seen", "as" (name in the source,
        "" without one), "by" (what they have in common, out of `class_matching.MATCH_RULES`) and
        "weight".
    """
    marks = vocabulary.seen or (False,) * len(vocabulary)
    matches: tuple[Match | None, ...] = (None,) * len(vocabulary)
    names: tuple[str, ...] = ()
    if source:
        names, matches = _parsed(source).names, known_classes(_parsed(source), vocabulary)
    classes = [
        {
            "name": name,
            "seen": seen,
            "as": names[match.source] if match else "",
            "by": MATCH_RULES[match.rule] if match else "",
            "weight": alpha if seen else 1 - alpha,
        }
        for name, seen, match in zip(vocabulary.names, marks, matches, strict=True)
    ]
    return {"seen": sum(marks), "unseen": len(marks) - sum(marks), "classes": classes}


def seen_table(record: dict[str, Any]) -> str:
    """What `seen_record` gave as a table: T + 2 lines, and a last one that counts."""
    rows = [
        (c["name"], "seen" if c["seen"] else "unseen", c["as"], c["by"], f"{c['weight']:g}")
        for c in record["classes"]
    ]
    heads = ("class", "stage 1", "as", "by", "weight")
    table = tabulate(rows, headers=heads, disable_numparse=True)
    return f"{table}\n{record['seen']} seen, {record['unseen']} unseen"


def matched_names(vocabulary: Vocabulary, source: VocabularyLike) -> tuple[str, ...]:
    """For each of the T classes the source class that it is, "" if there is none."""
    classes = seen_record(vocabulary, 0.5, source)["classes"]
    return tuple(entry["as"] for entry in classes)


def _parsed(source: VocabularyLike) -> Vocabulary:
    return Vocabulary.parse(source, allow_shared_names=True)
