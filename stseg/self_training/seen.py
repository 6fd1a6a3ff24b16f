"""Which classes of the target stage 1 has seen: the two weights of eq. 6 hang on it.

A class is seen if one of its names, the synonyms included, is a name or synonym of a source
class; case and white space do not matter. Where no source is given nothing is known to be seen,
and every class counts as unseen.
"""

from __future__ import annotations

from dataclasses import replace

from tabulate import tabulate

from stseg.structures import Vocabulary, VocabularyLike

#: At this weight seen and unseen classes count alike, and nobody needs to know them apart.
NEUTRAL_ALPHA = 0.5


def mark_seen(vocabulary: Vocabulary, source: VocabularyLike | None) -> Vocabulary:
    """Mark the classes that the source vocabulary has.

    Args:
        vocabulary: of the target.
        source: names of stage 1, in any form that `Vocabulary.parse` reads; "" or None where not
            known: marks that the vocabulary brings along stay, and without any every class counts
            as unseen.

    Returns:
        The same classes, each with a mark.
    """
    if source is None or source == "":
        if vocabulary.seen is not None:
            return vocabulary
        return replace(vocabulary, seen=(False,) * len(vocabulary))
    return vocabulary.with_seen(source)


def check_unseen(vocabulary: Vocabulary, alpha: float) -> None:
    """Refuse weights for unseen classes where there are none.

    Args:
        vocabulary: marked by `mark_seen`.
        alpha: weight of seen classes in eq. 6, in [0, 1].

    Raises:
        ValueError: if every class is seen and `alpha` is not 0.5.
    """
    if alpha == NEUTRAL_ALPHA or not vocabulary.seen or not all(vocabulary.seen):
        return
    raise ValueError(
        "SELF_TRAINING.SOURCE_VOCABULARY: expected a target vocabulary with at least one class "
        f"that the source lacks, got {len(vocabulary)} classes that it has all, so that "
        f"SELF_TRAINING.ALPHA {alpha:g} would weigh every class alike. Add the new names to the "
        "target vocabulary, set SELF_TRAINING.ALPHA 0.5, or clear SELF_TRAINING.SOURCE_VOCABULARY."
    )


def seen_table(vocabulary: Vocabulary, alpha: float, source: VocabularyLike | None = None) -> str:
    """Table of the classes with their marks and weights, as text.

    Args:
        vocabulary: T classes, marked by `mark_seen`; without marks all count as unseen.
        alpha: weight of seen classes in eq. 6, in [0, 1]; 1 - alpha for unseen ones.
        source: the source vocabulary, to show which of its classes each one matched.

    Returns:
        T + 2 lines and a last one that counts: class, seen or unseen, matched name of the source,
        weight.
    """
    marks = vocabulary.seen or (False,) * len(vocabulary)
    matches = matched_names(vocabulary, source) if source else ("",) * len(vocabulary)
    rows = [
        (name, "seen" if seen else "unseen", match, f"{alpha if seen else 1 - alpha:g}")
        for name, seen, match in zip(vocabulary.names, marks, matches, strict=True)
    ]
    table = tabulate(rows, headers=("class", "stage 1", "as", "weight"), disable_numparse=True)
    return f"{table}\n{sum(marks)} seen, {len(marks) - sum(marks)} unseen"


def matched_names(vocabulary: Vocabulary, source: VocabularyLike) -> tuple[str, ...]:
    """For each of the T classes the source class it shares a name with, "" if there is none.

    Where several do, the one that shares the class's earliest synonym.
    """
    other = Vocabulary.parse(source, allow_shared_names=True)
    by_name: dict[str, str] = {}
    for name, group in zip(other.names, other.synonyms, strict=True):
        for synonym in group:
            by_name.setdefault(synonym.casefold(), name)
    return tuple(
        next((by_name[s.casefold()] for s in group if s.casefold() in by_name), "")
        for group in vocabulary.synonyms
    )
