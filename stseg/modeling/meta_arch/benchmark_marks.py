"""Which classes of a benchmark EBSeg's published weights take for seen: by words, not by meaning.

Its authors' list counts a class as seen when one of its synonyms is, letter by letter, one of
COCO-Stuff's. So "road" of PASCAL-Context is not, nor is "house" of ADE20K, but its andirons are,
which are called firedogs, and "dog".
"""

from functools import cache

from stseg.data import STYLES, load_class_list
from stseg.structures import Vocabulary

Names = tuple[tuple[str, ...], ...]

_SOURCE = "coco_stuff_171"
_SYNONYMS = "synonyms"


@cache
def benchmark_marks(names: Names) -> tuple[bool, ...] | None:
    """Marks of the authors' list.

    Args:
        names: of T classes, each with its synonyms.

    Returns:
        T marks; None where the names are not those of a shipped benchmark, in its order.
    """
    for plain, styles in STYLES.items():
        if any(names == _names(stem) for stem in (plain, *styles.values())):
            known = {word for group in _names(STYLES[_SOURCE][_SYNONYMS]) for word in group}
            return tuple(not known.isdisjoint(group) for group in _names(styles[_SYNONYMS]))
    return None


@cache
def _names(stem: str) -> Names:
    return Vocabulary.from_names(load_class_list(stem), allow_shared_names=True).synonyms
