"""Variants of a vocabulary, and one model's score under each."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.asked_words import (
    VocabularyVariant,
    permuted,
    renamed,
    with_distractors,
    with_synonyms,
)
from stseg import Vocabulary
from stseg.evaluation import ConfusionMatrix

GIVEN = "as given"


def words_of(pool: str | None) -> tuple[str, ...]:
    """Names to draw distractors from; two classes of one name may be among them."""
    return Vocabulary.parse(pool, allow_shared_names=True).names if pool else ()


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


def measure(
    predict: Callable[[str, Vocabulary], np.ndarray],
    records: Sequence[Mapping[str, str]],
    asked: Mapping[str, VocabularyVariant],
    read: Callable[[str], np.ndarray],
) -> list[dict]:
    """Score every variant on every image.

    Args:
        predict: path of an image and names -> (H, W) ids of these names.
        records: with "file_name" and "sem_seg_file_name".
        asked: variants by name, `GIVEN` first.
        read: path of a label map -> (H, W) ids, `IGNORE_LABEL` where not scored.

    Returns:
        A row per variant: "variant", "names", "mIoU" and "pACC" in [0, 1], and "changed", the share
        of all pixels answered otherwise than under `GIVEN`.
    """
    vocabularies = {title: Vocabulary.parse([[n] for n in v.names]) for title, v in asked.items()}
    matrices = {title: ConfusionMatrix(v.num_classes) for title, v in asked.items()}
    changed, pixels = dict.fromkeys(asked, 0), 0
    for record in records:
        label, given = read(record["sem_seg_file_name"]), None
        pixels += label.size
        for title, variant in asked.items():
            answer = variant.restore(predict(record["file_name"], vocabularies[title]))
            matrices[title].update(answer, label, name=record["file_name"])
            given = answer if given is None else given
            changed[title] += int((answer != given).sum())
    rows = []
    for title, matrix in matrices.items():
        figures = matrix.summary()
        rows.append(
            {
                "variant": title,
                "names": len(asked[title].names),
                "mIoU": figures["mIoU_gt"],
                "pACC": figures["pACC"],
                "changed": changed[title] / pixels,
            }
        )
    return rows
