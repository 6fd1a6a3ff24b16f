"""Figures of one evaluation, as a result file and as the table that Detectron2 expects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from stseg.evaluation.calibration import ConfidenceHistogram
from stseg.evaluation.results import Result
from stseg.evaluation.scoring import Score, summarise
from stseg.structures import Vocabulary

# Names of the table, by names of the result file.
_TABLE = {
    "mIoU_gt": "mIoU",
    "mIoU_union": "mIoU_union",
    "fwIoU": "fwIoU",
    "mACC": "mACC",
    "pACC": "pACC",
    "seen_mIoU": "seen mIoU",
    "unseen_mIoU": "unseen mIoU",
    "harmonic_mIoU": "harmonic mIoU",
    "seen_mIoU_union": "seen mIoU_union",
    "unseen_mIoU_union": "unseen mIoU_union",
    "harmonic_mIoU_union": "harmonic mIoU_union",
    "ECE": "ECE",
    "AURC": "AURC",
    "boundary_mIoU_gt": "boundary_mIoU_gt",
    "boundary_mIoU_union": "boundary_mIoU_union",
    "open_mIoU_gt": "open_mIoU_gt",
    "open_mIoU_union": "open_mIoU_union",
}


def plain_vocabulary(names: Sequence[str]) -> Vocabulary:
    """Names to print, as they are: a comma parts no synonyms, two classes may share a name."""
    # A vocabulary to ask a model for has no two classes alike; the id makes them differ.
    synonyms = tuple((name, f"{name} (id {i})") for i, name in enumerate(names))
    return Vocabulary(names=tuple(names), synonyms=synonyms)


def short_names(files: Sequence[str], root: str = "") -> dict[str, str]:
    """Names of images that are the same on another machine.

    Args:
        files: paths, all different.
        root: folder of the images, "" where not known.

    Returns:
        By path: the path below the root, or below the deepest folder of all, without suffix; with
        suffix where names would be the same, and the paths themselves where they share no folder.
    """
    if not files:
        return {}
    try:
        if not root or os.path.commonpath([root, *files]) != os.path.normpath(root):
            root = os.path.commonpath([os.path.dirname(file) for file in files])
        below = [PurePath(os.path.relpath(file, root or ".")) for file in files]
    except ValueError:  # absolute and relative paths, or two drives
        return dict(zip(files, files, strict=True))
    short = [path.with_suffix("").as_posix() for path in below]
    if len(set(short)) < len(short):
        short = [path.as_posix() for path in below]
    return dict(zip(files, short, strict=True))


def run_result(
    score: Score,
    vocabulary: Vocabulary,
    data_set: str,
    histogram: ConfidenceHistogram | None,
    provenance: dict[str, Any],
    similarity: np.ndarray | None = None,
) -> Result:
    """A result with calibration where there are confidences.

    Args:
        score: over all images.
        vocabulary: names of the label ids.
        data_set: name.
        histogram: confidences of all scored pixels, or None.
        provenance: of `make_provenance`.
        similarity: (N, N) in [0, 1], how near two names are, or None.
    """
    return summarise(
        score,
        vocabulary,
        data_set=data_set,
        similarity=similarity,
        provenance=provenance,
        confidences=histogram,
    )


class Figures(dict[str, float]):
    """Figures in percent under Detectron2's names: "mIoU", "IoU-<name>" and so on.

    Attributes:
        result: what they were taken from.
        overall: those that are not of a single class.
    """

    def __init__(self, result: Result, label_names: Sequence[str]) -> None:
        """Translate.

        Args:
            result: of `run_result`.
            label_names: N names as the data set's metadata spells them.
        """
        super().__init__()
        self.result = result
        table = {k: result.figures[name] for name, k in _TABLE.items() if name in result.figures}
        if result.bootstrap:
            table["mIoU_low"], table["mIoU_high"] = result.bootstrap["intervals"]["mIoU_gt"]
        self.overall = _percent(table)
        self.update(self.overall)
        for name, row in zip(label_names, result.classes, strict=True):
            of_class = {f"IoU-{name}": row["iou"], f"ACC-{name}": row["accuracy"]}
            if "boundary_iou" in row:
                of_class[f"BoundaryIoU-{name}"] = row["boundary_iou"]
            self.update(_percent(of_class))


def _percent(fractions: dict[str, float]) -> dict[str, float]:
    return {key: 100.0 * float(value) for key, value in fractions.items()}
