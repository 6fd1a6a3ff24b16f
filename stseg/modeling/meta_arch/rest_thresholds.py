"""How sure a group must be of a class, where what is less sure is the class without words.

Published for PGSeg, per benchmark; GroupViT had 0.95, 0.35 and 0.95.
"""

from functools import cache

from stseg.data import build_vocabulary
from stseg.structures import Vocabulary

#: Stem of a shipped list -> confidence in [0, 1].
PUBLISHED = {"voc_21_rest": 0.95, "pascal_context_60": 0.36, "coco_object_81": 0.85}


def published_threshold(vocabulary: Vocabulary) -> float | None:
    """That of the list with these words, in its order; None for other words."""
    return _by_words().get(vocabulary.synonyms)


@cache
def _by_words() -> dict[tuple[tuple[str, ...], ...], float]:
    return {build_vocabulary(stem).synonyms: level for stem, level in PUBLISHED.items()}
