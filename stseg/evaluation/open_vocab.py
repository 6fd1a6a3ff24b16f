"""Figures for open vocabularies: credit for near names, and robustness to the choice of names.

NumPy only. Open mIoU after Zhou et al., "Rethinking Evaluation Metrics of Open-Vocabulary
Segmentation" (TPAMI 2025): "sofa" for "couch" is not as wrong as "sky". How near two names are is
a judgement, so the matrix is an argument here and belongs into the result file.

A vocabulary variant asks for the same classes in other words or among other words, and maps the
answers back, so that scores under all variants are comparable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from stseg.evaluation.confusion import ConfusionMatrix, mean_or_nan, ratio_or_nan


def open_iou(matrix: ConfusionMatrix, similarity: np.ndarray) -> np.ndarray:
    """IoU of every class with soft hits.

    A pixel of class i answered with j is `S[i, j]` of a hit of i, and the rest, `1 - S[i, j]`, is
    missed by i and false for j. The identity gives the plain IoU; nearer names never lower it.

    Args:
        matrix: of N classes.
        similarity: (N, N) in [0, 1], rows the truth, 1 on the diagonal.

    Returns:
        (N,) in [0, 1]; NaN for classes absent from the labels.

    Raises:
        ValueError: if the shape, a value or the diagonal is off.
    """
    check_similarity(similarity, matrix.num_classes)
    hits = (matrix.counts * similarity).sum(axis=1)
    false = (matrix.counts * (1.0 - similarity)).sum(axis=0)
    truth = matrix.counts.sum(axis=1)
    iou = ratio_or_nan(hits, truth + false)
    return np.where(matrix.present, np.minimum(iou, 1.0), np.nan)


def open_figures(matrix: ConfusionMatrix, similarity: np.ndarray) -> dict[str, float]:
    """Means of `open_iou` over the classes in the labels; arguments and errors as there.

    Returns:
        "open_mIoU_gt" in [0, 1] and "open_gain", by how much it exceeds mIoU_gt; NaN without
        counted pixels.
    """
    mean = mean_or_nan(open_iou(matrix, similarity)[matrix.present])
    return {"open_mIoU_gt": mean, "open_gain": mean - matrix.summary()["mIoU_gt"]}


def check_similarity(similarity: np.ndarray, num_classes: int) -> None:
    """Raise ValueError unless (N, N), in [0, 1] and 1 on the diagonal."""
    if similarity.shape != (num_classes, num_classes):
        raise ValueError(
            f"Similarity: expected shape ({num_classes}, {num_classes}), got {similarity.shape}."
        )
    if not (similarity.min() >= 0 and similarity.max() <= 1):  # also refuses NaN
        raise ValueError(
            f"Similarity: expected values in [0, 1], got {similarity.min()} to {similarity.max()}."
        )
    if not np.allclose(similarity.diagonal(), 1.0, atol=1e-6):
        raise ValueError("Similarity: expected 1 on the diagonal, got a class unlike itself.")


def read_similarity(path: str | PathLike[str], num_classes: int | None = None) -> np.ndarray:
    """Read what `python -m stseg.tools.name_similarity` wrote.

    Args:
        path: .npy file.
        num_classes: N; None leaves the check to who uses it.

    Returns:
        (N, N) in [0, 1].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else; names the file.
    """
    try:
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("several arrays")
        check_similarity(values, len(values) if num_classes is None else num_classes)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected one array of similarities (.npy). {error}") from error
    return values


def similarity(embeddings: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Nearness of names out of their embeddings.

    Args:
        embeddings: (N, C) floats, any length but 0.
        floor: cosine in [0, 1) that counts as unrelated. CLIP's text embeddings of unrelated
            nouns lie well above 0: without a floor every mistake gets credit.

    Returns:
        (N, N) float64 in [0, 1], symmetric, 1 on the diagonal: `(cosine - floor) / (1 - floor)`,
        0 below the floor.

    Raises:
        ValueError: if the shape, a length or the floor is off.
    """
    if embeddings.ndim != 2:
        raise ValueError(f"Embeddings: expected shape (N, C), got {embeddings.shape}.")
    if not 0.0 <= floor < 1.0:
        raise ValueError(f"floor: expected a cosine in [0, 1), got {floor}.")
    vectors = embeddings.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("Embeddings: expected finite vectors of a length above 0.")
    vectors /= lengths
    cosine = vectors @ vectors.T
    result = np.clip((cosine - floor) / (1.0 - floor), 0.0, 1.0)
    result = (result + result.T) / 2
    np.fill_diagonal(result, 1.0)
    return result


@dataclass(frozen=True)
class VocabularyVariant:
    """Other words for the classes of a data set, and the way back.

    Attributes:
        names: M names to ask for.
        answers: (M,) int64, the class id in [0, N) that each name stands for, or N for none.
        num_labels: N, classes in the labels.
    """

    names: tuple[str, ...]
    answers: np.ndarray
    num_labels: int

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


def permuted(names: Sequence[str], seed: int = 0) -> VocabularyVariant:
    """Ask for the same names in another order, which must change no score at all."""
    order = np.random.default_rng(seed).permutation(len(names))
    return VocabularyVariant(tuple(names[i] for i in order), order.astype(np.int64), len(names))
