"""Classes asked for in other words, or among other words, and the way back.

A variant maps the answers back to the classes, so that scores under all variants are comparable.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stseg.structures import Vocabulary

#: A name, or synonyms of one class.
Asked = str | tuple[str, ...]


@dataclass(frozen=True)
class VocabularyVariant:
    """Other words for the classes of a data set, and the way back.

    Attributes:
        names: M names to ask for, or groups of synonyms.
        answers: (M,) int64, the class id in [0, N) that each name stands for, or N for none.
        num_labels: N, classes in the labels.
    """

    names: tuple[Asked, ...]
    answers: np.ndarray
    num_labels: int

    @property
    def vocabulary(self) -> Vocabulary:
        """What to ask for.

        Raises:
            ValueError: if two of the names, or groups, are one.
        """
        groups = [[asked] if isinstance(asked, str) else list(asked) for asked in self.names]
        return Vocabulary.from_names(groups, allow_shared_names=True)

    @property
    def num_classes(self) -> int:
        """Size of the confusion matrix: N, or N + 1 where some name stands for no class.

        The class N is in no label: what it wins is missed by the true classes. It is one more
        predicted and absent class for mIoU_union, so compare variants by mIoU_gt.
        """
        return self.num_labels + int((self.answers == self.num_labels).any())

    def restore(self, prediction: np.ndarray) -> np.ndarray:
        """Answers to these names as class ids of the data set.

        Args:
            prediction: integers in [0, M), any shape.

        Returns:
            int64 in [0, `num_classes`).

        Raises:
            ValueError: if an id is out of range.
        """
        if prediction.size and not 0 <= prediction.min() <= prediction.max() < len(self.names):
            raise ValueError(
                f"prediction: expected ids in [0, {len(self.names) - 1}], got "
                f"{prediction.min()} to {prediction.max()}."
            )
        return self.answers[prediction]


def renamed(names: Sequence[str], others: Mapping[str, str]) -> VocabularyVariant:
    """Ask for synonyms or hypernyms instead of the names.

    Args:
        names: N names of the data set, in order.
        others: the word to ask for in place of a name; names without one stay. Where a word is
            the name of another class, or of several, an answer to it counts for one of them (the
            class that kept the name, else the first): such a merge costs IoU, as it should.

    Raises:
        ValueError: if `others` holds a name that the data set lacks.
    """
    _check_known("Other names", others, names)
    kept = {name.casefold() for name in names if name not in others}
    asked: list[str] = []
    answers: list[int] = []
    for i, name in enumerate(names):
        word = others.get(name, name)
        if name in others:
            if word.casefold() in kept:
                continue
            kept.add(word.casefold())
        asked.append(word)
        answers.append(i)
    return VocabularyVariant(tuple(asked), np.array(answers), len(names))


def _check_known(what: str, others: Iterable[str], names: Sequence[str]) -> None:
    unknown = sorted(set(others) - set(names))
    if unknown:
        raise ValueError(f"{what}: expected names of the data set, got {unknown[0]!r}.")


def with_synonyms(names: Sequence[str], others: Mapping[str, Sequence[str]]) -> VocabularyVariant:
    """Ask for synonyms beside the names; an answer to either counts for the class.

    Args:
        names: N names of the data set, in order.
        others: further words for a name. Words that another class or an earlier entry has already
            are left out.

    Raises:
        ValueError: if `others` holds a name that the data set lacks.
    """
    _check_known("Synonyms", others, names)
    taken = {name.casefold() for name in names}
    asked, answers = list(names), list(range(len(names)))
    for i, name in enumerate(names):
        for word in others.get(name, ()):
            if word.casefold() not in taken:
                taken.add(word.casefold())
                asked.append(word)
                answers.append(i)
    return VocabularyVariant(tuple(asked), np.array(answers), len(names))


def with_distractors(
    names: Sequence[str], pool: Sequence[str], count: int, seed: int = 0
) -> VocabularyVariant:
    """Ask for names beside the classes that no label holds; answers to them are wrong.

    Args:
        names: N names of the data set, in order.
        pool: words to draw from; those that are names already are left out.
        count: how many to draw. A larger count with the same pool and seed keeps the smaller
            one's words, so a series over counts only adds.
        seed: of the draw.

    Raises:
        ValueError: if the pool is too small.
    """
    taken = {name.casefold() for name in names}
    free = list({w.casefold(): w for w in pool if w.casefold() not in taken}.values())
    if not 0 <= count <= len(free):
        raise ValueError(f"Distractors: expected at most {len(free)} from this pool, got {count}.")
    order = np.random.default_rng(seed).permutation(len(free))[:count]
    answers = np.concatenate([np.arange(len(names)), np.full(count, len(names))])
    return VocabularyVariant((*names, *(free[i] for i in order)), answers, len(names))


def permuted(names: Sequence[Asked], seed: int = 0) -> VocabularyVariant:
    """Ask for the same names in another order, which must change no score at all."""
    order = np.random.default_rng(seed).permutation(len(names))
    return VocabularyVariant(tuple(names[i] for i in order), order.astype(np.int64), len(names))
