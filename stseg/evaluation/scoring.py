"""Scoring folders of label maps. NumPy and Pillow only.

Memory does not grow with the number of images, but for a name and two figures of each.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stseg.data import LabelCoding, LabelDoubts
from stseg.evaluation.bootstrap import Bootstrap
from stseg.evaluation.boundary import BoundaryCounts
from stseg.evaluation.calibration import ConfidenceHistogram
from stseg.evaluation.confidence_images import read_confidence
from stseg.evaluation.confusion import ConfusionMatrix
from stseg.evaluation.label_images import LabelPair, read_pair
from stseg.evaluation.metrics import DEFINITIONS, figures, per_class, top_confusions
from stseg.evaluation.open_vocab import open_figures
from stseg.evaluation.results import Result, make_protocol
from stseg.structures import IGNORE_LABEL, Vocabulary

logger = logging.getLogger(__name__)

_LEVEL = 0.95
_CONFUSIONS = 50
_BAND = "boundary IoU (Cheng et al. 2021, bands of 2 % of the diagonal) over classes with a band in"
_DEFINITIONS = DEFINITIONS | {
    "boundary_mIoU_gt": f"mean {_BAND} the labels",
    "boundary_mIoU_union": f"mean {_BAND} the labels or the prediction",
    "ECE": "expected calibration error (Guo et al. 2017) of the pixels' confidences, 15 bins",
    "AURC": "area under the risk-coverage curve (Geifman and El-Yaniv 2017) over pixels",
}


@dataclass(frozen=True)
class Settings:
    """How pairs are scored.

    Attributes:
        num_classes: N of the labels.
        ignore: ids in the label files that are not scored.
        fold_background: predictions from N - 1 on count as N - 1 (VOC-20b).
        boundary: also count bands along the edges, at about twice the cost.
        replicates: of the bootstrap; 0 for none.
        seed: of the bootstrap.
    """

    num_classes: int
    ignore: tuple[int, ...] = (255,)
    fold_background: bool = False
    boundary: bool = False
    replicates: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for value in self.ignore:
            if not 0 <= value <= 65535:
                raise ValueError(f"Ignored id: expected 0 to 65535, got {value}.")


def warn_of_ignored_classes(ignore: Sequence[int], names: Sequence[str]) -> None:
    """Say it where an id that is not scored is a class as well, which is rarely meant.

    Args:
        ignore: ids in the label files.
        names: of the classes, by id in the label files.
    """
    for value in ignore:
        if value < len(names):
            logger.warning(
                "Ignored id %d is also the class %r: its labelled pixels are not scored, so it "
                "counts as absent from the labels. Pixels predicted as it still count as mistakes, "
                "and as IoU 0 in the means over classes in the prediction.",
                value,
                names[value],
            )


@dataclass
class Score:
    """Counts over the images scored so far.

    Attributes:
        settings: what they were scored by.
        matrix: over all images.
        images: per image "name", and its own "mIoU_gt" and "pACC", NaN where all is ignored.
        boundary: None unless asked for.
        bootstrap: likewise.
        confidences: of all scored pixels; None where the pairs have none.
    """

    settings: Settings
    matrix: ConfusionMatrix
    images: list[dict[str, Any]] = field(default_factory=list)
    boundary: BoundaryCounts | None = None
    bootstrap: Bootstrap | None = None
    confidences: ConfidenceHistogram | None = None

    @classmethod
    def empty(cls, settings: Settings) -> Score:
        """Zero counts."""
        n, replicates = settings.num_classes, settings.replicates
        return cls(
            settings,
            ConfusionMatrix(n),
            boundary=BoundaryCounts(n) if settings.boundary else None,
            bootstrap=Bootstrap(n, replicates, settings.seed) if replicates else None,
        )

    def add(
        self, name: str, matrix: ConfusionMatrix, boundary: BoundaryCounts | None = None
    ) -> None:
        """Count an image.

        Args:
            name: of the image; decides its weights in the bootstrap.
            matrix: of this image alone.
            boundary: of this image alone, where the settings ask for it.
        """
        self.matrix.merge(matrix)
        summary = matrix.summary()
        self.images.append({"name": name, **{k: summary[k] for k in ("mIoU_gt", "pACC")}})
        if self.boundary is not None and boundary is not None:
            self.boundary.merge(boundary)
        if self.bootstrap is not None:
            self.bootstrap.update(name, matrix)

    def merge(self, other: Score) -> None:
        """Add the images of another score by the same settings; no image may be in both."""
        self.matrix.merge(other.matrix)
        self.images += other.images
        if self.boundary is not None and other.boundary is not None:
            self.boundary.merge(other.boundary)
        if self.bootstrap is not None and other.bootstrap is not None:
            self.bootstrap.merge(other.bootstrap)


def score_pairs(
    pairs: Sequence[LabelPair],
    settings: Settings,
    *,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
    coding: LabelCoding | None = None,
    doubts: LabelDoubts | None = None,
) -> Score:
    """Read and count pairs of label maps.

    Args:
        pairs: files; names must differ.
        settings: see there.
        jobs: threads that read and count, at least 1.
        progress: called with the number of pairs done.
        coding: what the values of the labels mean; by default ids, but for the settings' ignored.
        doubts: is told what each label holds.

    Raises:
        OSError: if a file cannot be decoded.
        ValueError: if a file holds what it must not; both name the file.
    """
    if jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}.")
    score = Score.empty(settings)
    if pairs and all(pair.confidence for pair in pairs):
        score.confidences = ConfidenceHistogram()
    for done, counted in enumerate(_counted(pairs, settings, jobs, coding), start=1):
        name, matrix, boundary, has_ignored, confidences = counted
        score.add(name, matrix, boundary)
        if score.confidences is not None and confidences is not None:
            score.confidences.merge(confidences)
        if doubts is not None:
            doubts.add(np.flatnonzero(matrix.present).tolist(), has_ignored)
        if progress:
            progress(done)
    return score


_Counts = tuple[str, ConfusionMatrix, BoundaryCounts | None, bool, ConfidenceHistogram | None]


def _counted(
    pairs: Sequence[LabelPair], settings: Settings, jobs: int, coding: LabelCoding | None
) -> Iterator[_Counts]:
    """Counts of each pair, in order; a handful at a time, for matrices of many classes are big."""
    with ThreadPoolExecutor(jobs) as pool:
        block = 2 * jobs
        for start in range(0, len(pairs), block):
            some = pairs[start : start + block]
            yield from pool.map(lambda pair: _count(pair, settings, coding), some)


def _count(pair: LabelPair, settings: Settings, coding: LabelCoding | None) -> _Counts:
    prediction, label = read_pair(
        pair,
        settings.num_classes,
        settings.ignore,
        fold=settings.fold_background,
        coding=coding,
    )
    matrix = ConfusionMatrix(settings.num_classes)
    matrix.update(prediction, label, IGNORE_LABEL, pair.name)
    boundary = None
    if settings.boundary:
        boundary = BoundaryCounts(settings.num_classes)
        boundary.update(prediction, label, IGNORE_LABEL, pair.name)
    histogram = None
    if pair.confidence is not None:
        confidence, scored = read_confidence(pair.confidence, label.shape), label != IGNORE_LABEL
        histogram = ConfidenceHistogram()
        histogram.update(confidence[scored], (prediction == label)[scored], pair.name)
    has_ignored = bool((label == IGNORE_LABEL).any())
    return pair.name, matrix, boundary, has_ignored, histogram


def summarise(
    score: Score,
    vocabulary: Vocabulary,
    *,
    data_set: str | None = None,
    interest: np.ndarray | None = None,
    similarity: np.ndarray | None = None,
    provenance: dict[str, Any] | None = None,
    confidences: ConfidenceHistogram | None = None,
) -> Result:
    """Figures and all that a result file holds.

    Args:
        score: of any number of images.
        vocabulary: N names, with seen marks for the seen and unseen figures.
        data_set: name, if there is one.
        interest: (N,) bool, classes of interest.
        similarity: (N, N) in [0, 1], how near two names are, for the open figures; rounded to
            four decimals and kept in the result.
        provenance: of `results.make_provenance`.
        confidences: of all scored pixels, for ECE and AURC; the score's own by default.

    Raises:
        ValueError: if the number of names is not N, or the similarity is faulty.
    """
    settings, matrix = score.settings, score.matrix
    seen = None if vocabulary.seen is None else np.array(vocabulary.seen, dtype=bool)
    protocol = make_protocol(
        matrix,
        names=vocabulary.names,
        images=[row["name"] for row in score.images],
        ignore=settings.ignore,
        fold_background=settings.fold_background,
        data_set=data_set,
        seen=seen,
        interest=interest,
    )
    values = figures(matrix, seen=seen, classes=interest)
    if score.boundary is not None:
        values |= score.boundary.summary()
    meanings, credit = dict(_DEFINITIONS), {}
    if similarity is not None:
        near = np.round(similarity.astype(np.float64), 4)
        values |= open_figures(matrix, near)
        meanings |= _open_definitions(near)
        credit = _credit_columns(near)
    histogram = confidences or score.confidences
    if histogram is not None:
        values |= {"ECE": histogram.ece(), "AURC": histogram.aurc()}
    return Result(
        protocol=protocol,
        figures=values,
        definitions={name: meanings[name] for name in values},
        classes=_class_rows(score, vocabulary),
        confusions=[
            dict(zip(("true", "predicted", "pixels", "share"), entry, strict=True))
            for entry in top_confusions(matrix, _CONFUSIONS)
        ],
        images=score.images,
        bootstrap=_bootstrap_part(score),
        similarity=credit,
        provenance=provenance or {},
    )


def _open_definitions(similarity: np.ndarray) -> dict[str, str]:
    """With a hash: figures under two matrices are two figures."""
    key = hashlib.sha256(similarity.tobytes()).hexdigest()[:12]
    return {
        "open_mIoU_gt": "mean IoU over classes in the labels with credit for near names "
        f"(similarity {key})",
        "open_gain": "open_mIoU_gt - mIoU_gt: mistakes between near names",
        "open_mIoU_union": "the same over classes in the labels or the prediction",
    }


def _credit_columns(similarity: np.ndarray) -> dict[str, list[Any]]:
    """The pairs of unlike classes that get credit; most get none."""
    between = similarity.copy()
    np.fill_diagonal(between, 0.0)
    true, predicted = np.nonzero(between)
    credit = between[true, predicted]
    return {
        "true": true.tolist(),
        "predicted": predicted.tolist(),
        "credit": credit.tolist(),
    }


def _class_rows(score: Score, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    columns = {key: column.tolist() for key, column in per_class(score.matrix).items()}
    columns["taken_for"], columns["taken_pixels"] = _taken_for(score.matrix)
    if score.boundary is not None:
        columns["boundary_iou"] = score.boundary.iou().tolist()
    if vocabulary.seen is not None:
        columns["seen"] = list(vocabulary.seen)
    return [
        {"id": i, "name": name, **{key: column[i] for key, column in columns.items()}}
        for i, name in enumerate(vocabulary.names)
    ]


def _taken_for(matrix: ConfusionMatrix) -> tuple[list[int], list[int]]:
    """The class that each class is mostly mistaken for, and the pixels."""
    mistakes = matrix.counts.copy()
    np.fill_diagonal(mistakes, 0)
    return mistakes.argmax(axis=1).tolist(), mistakes.max(axis=1).tolist()


def _bootstrap_part(score: Score) -> dict[str, Any]:
    if score.bootstrap is None:
        return {}
    return {
        "level": _LEVEL,
        "seed": score.settings.seed,
        "intervals": {"mIoU_gt": list(score.bootstrap.interval(_LEVEL))},
        "means": {"mIoU_gt": score.bootstrap.means().tolist()},
    }
