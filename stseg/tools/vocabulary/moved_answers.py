"""Variants of a vocabulary, and how a model's answers move, and score, from one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from stseg.evaluation import ConfusionMatrix
from stseg.structures import Segmentation, Vocabulary
from stseg.tools.vocabulary.asked_words import (
    VocabularyVariant,
    permuted,
    renamed,
    with_distractors,
    with_synonyms,
)
from stseg.tools.vocabulary.name_forms import singular_form

GIVEN = "as given"
ANOTHER_ORDER = "another order"

#: Names that most pictures hold one of, to compete with the classes where nothing else is said.
EVERYDAY = tuple(
    "person; car; building; wall; floor; ceiling; window; door; table; chair; lamp; curtain; tree; "
    "grass; sky; road; water; mountain; sign; fence; animal; plant; food; bottle; box; book; "
    "clothes; screen".split("; ")
)


class Answering(Protocol):
    """What is asked: a `Predictor`."""

    def set_image(self, image: Any) -> None:
        """Look at a picture."""

    def predict(self, vocabulary: Vocabulary) -> Segmentation:
        """Answer for that picture."""


def words_of(pool: str | None) -> tuple[str, ...]:
    """Names to draw distractors from; two classes of one name may be among them."""
    return Vocabulary.parse(pool, allow_shared_names=True).names if pool else ()


def everyday_words(vocabulary: Vocabulary) -> tuple[str, ...]:
    """`EVERYDAY` without the names that a vocabulary has, in the singular or plural."""
    taken = {singular_form(name) for group in vocabulary.synonyms for name in group}
    return tuple(name for name in EVERYDAY if singular_form(name) not in taken)


def variants(
    vocabulary: Vocabulary,
    pool: Sequence[str] = (),
    counts: Sequence[int] = (),
    tables: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, VocabularyVariant]:
    """All variants of a vocabulary that there are words for, by name."""
    names = vocabulary.names
    further = {name: group[1:] for name, group in zip(names, vocabulary.synonyms, strict=True)}
    further = {name: group for name, group in further.items() if group}
    found = {GIVEN: renamed(names, {}), "permuted": permuted(names)}
    if further:
        found["synonyms beside"] = with_synonyms(names, further)
        found["synonyms instead"] = renamed(names, {n: group[-1] for n, group in further.items()})
    for count in counts:
        found[f"{count} distractors"] = with_distractors(names, pool, count)
    return found | {title: renamed(names, table) for title, table in (tables or {}).items()}


def probe_variants(vocabulary: Vocabulary, pool: Sequence[str]) -> dict[str, VocabularyVariant]:
    """A vocabulary as it is, in another order, and with other names beside it.

    Args:
        vocabulary: N classes, asked for by all their synonyms.
        pool: the other names; those that are names of the vocabulary are left out.
    """
    groups = vocabulary.synonyms
    taken = {name.casefold() for group in groups for name in group}
    words = {word.casefold(): word for word in pool if word.casefold() not in taken}
    found = {
        GIVEN: VocabularyVariant(groups, np.arange(len(groups)), len(groups)),
        ANOTHER_ORDER: permuted(groups),
    }
    if words:
        answers = np.minimum(np.arange(len(groups) + len(words)), len(groups))
        title = f"{len(words)} distractors"
        found[title] = VocabularyVariant((*groups, *words.values()), answers, len(groups))
    return found


def lone_words(vocabulary: Vocabulary) -> dict[tuple[int, str], VocabularyVariant]:
    """For every synonym the vocabulary in which its class has no other name.

    Returns:
        By class and synonym; without those that would make two classes the same.
    """
    groups = vocabulary.synonyms
    alone = {group[0].casefold() for group in groups if len(group) == 1}
    return {
        (i, word): VocabularyVariant(
            (*groups[:i], (word,), *groups[i + 1 :]), np.arange(len(groups)), len(groups)
        )
        for i, group in enumerate(groups)
        if len(group) > 1
        for word in group
        if word.casefold() not in alone
    }


def measure(
    predictor: Answering,
    records: Iterable[Mapping[str, Any]],
    asked: Mapping[Any, VocabularyVariant],
    read: Any = None,
) -> list[dict[str, Any]]:
    """Ask about every image in every variant.

    Args:
        predictor: is shown each image once.
        records: with "file_name" and, where `read` is given, "sem_seg_file_name".
        asked: variants by name, the one to compare with first.
        read: path of a label map -> (H, W) ids, `IGNORE_LABEL` where not scored; None for none.

    Returns:
        A row per variant: "variant", "names" (their number), "confidence" (mean), "changed", the
        share of all pixels answered otherwise than in the first variant, and "stays", that share of
        each class's pixels in the first variant which keep it, None for a class without pixels;
        with labels "mIoU", "pACC" in [0, 1] and "IoU" by class, None for one that does not occur.
    """
    first = next(iter(asked.values()))
    words = {title: variant.vocabulary for title, variant in asked.items()}
    matrices = {title: ConfusionMatrix(variant.num_classes) for title, variant in asked.items()}
    kept = {title: np.zeros(first.num_labels, np.int64) for title in asked}
    had = np.zeros(first.num_labels, np.int64)
    sure, pixels = dict.fromkeys(asked, 0.0), 0
    for record in records:
        predictor.set_image(record["file_name"])
        label = read(record["sem_seg_file_name"]) if read else None
        given = None
        for title, variant in asked.items():
            said = predictor.predict(words[title])
            answer = variant.restore(said.label_map)
            if given is None:
                given = answer
                pixels += given.size
                had += np.bincount(given.ravel(), minlength=len(had))[: len(had)]
            kept[title] += np.bincount(given[answer == given], minlength=len(had))[: len(had)]
            sure[title] += float(said.confidence.sum(dtype=np.float64))
            if label is not None:
                matrices[title].update(answer, label, name=record["file_name"])
    shares = {
        title: [
            k / h if h else None for k, h in zip(kept[title].tolist(), had.tolist(), strict=True)
        ]
        for title in asked
    }
    return [
        {
            "variant": title,
            "names": len(asked[title].names),
            "confidence": sure[title] / pixels,
            "changed": (pixels - int(kept[title].sum())) / pixels,
            "stays": shares[title],
        }
        | (_scores(matrices[title], first.num_labels) if read else {})
        for title in asked
    ]


def _scores(matrix: ConfusionMatrix, classes: int) -> dict[str, Any]:
    figures = matrix.summary()
    ious = [_or_none(value) for value in matrix.iou()[:classes]]
    return {"mIoU": figures["mIoU_gt"], "pACC": figures["pACC"], "IoU": ious}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
