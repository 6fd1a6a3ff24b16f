"""Counts of one run, image by image: what repeats, resuming and several processes ask for.

NumPy only. Of an image stay the filled cells of its counts, about two kilobytes where the whole
matrix of 847 classes has six megabytes; with confidences ten more.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from stseg.evaluation.boundary import BoundaryCounts
from stseg.evaluation.calibration import ConfidenceHistogram
from stseg.evaluation.confusion import ConfusionMatrix, masked_ids
from stseg.evaluation.scoring import Score, Settings
from stseg.structures import IGNORE_LABEL
from stseg.utils import write_atomically

#: Bins of confidence, fewer than a histogram's own default since they are kept per image.
CONFIDENCE_BINS = 600

# Index and counts of the filled cells, by kind of count.
_KINDS = {
    "confusion": np.dtype([("at", "<i4"), ("pixels", "<i4")]),
    "boundary": np.dtype([("at", "<i4"), ("both", "<i4"), ("truth", "<i4"), ("predicted", "<i4")]),
    "confidence": np.dtype(
        [("at", "<i4"), ("pixels", "<i4"), ("correct", "<i4"), ("steps", "<i8")]
    ),
    "ends": np.dtype([("at", "<i4"), ("ends_pixels", "<i4"), ("ends_correct", "<i4")]),
}


class ImageCounts:
    """Counts by name of the image; each name counts once."""

    def __init__(self, settings: Settings) -> None:
        """Start empty.

        Args:
            settings: number of classes, and what else is counted.
        """
        self.settings = settings
        self._images: dict[str, dict[str, np.ndarray]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._images

    @property
    def names(self) -> list[str]:
        """Of the images, in the order they came."""
        return list(self._images)

    def add(
        self,
        name: str,
        prediction: np.ndarray,
        label: np.ndarray,
        confidence: np.ndarray | None = None,
        where: str | None = None,
    ) -> None:
        """Count an image, or pass over one that was counted.

        Args:
            name: of the image.
            prediction: (H, W) integers in [0, N); from N - 1 on the last class where the settings
                fold the background.
            label: (H, W) integers in [0, N), `IGNORE_LABEL` where not scored.
            confidence: (H, W) floats in [0, 1], or None.
            where: the image, for messages; its name by default.

        Raises:
            TypeError: if ids are not integers or confidences not floats.
            ValueError: if sizes differ or a value is out of range.
        """
        if name in self._images:
            return
        where = where or name
        num_classes = self.settings.num_classes
        if self.settings.fold_background:
            prediction = np.minimum(prediction, num_classes - 1)
        answer, truth, counted = masked_ids(prediction, label, IGNORE_LABEL, num_classes, where)
        # As `ConfusionMatrix.update` does it, but for its N x N cells, most of which stay empty.
        truth *= num_classes
        truth += answer
        cells = np.bincount(truth.ravel(), minlength=1)
        cells[0] -= counted.size - np.count_nonzero(counted)  # ignored pixels are (0, 0) there
        tables = {"confusion": _table("confusion", cells)}
        if self.settings.boundary:
            bands = BoundaryCounts(num_classes)
            bands.update(prediction, label, IGNORE_LABEL, where)
            tables["boundary"] = _table("boundary", bands.both, bands.truth, bands.predicted)
        if confidence is not None:
            tables |= _confidence_tables(prediction, label, confidence, where)
        self._images[name] = tables

    def total(self, names: dict[str, str]) -> tuple[Score, ConfidenceHistogram, int]:
        """Sum over some of the images.

        Args:
            names: of the images to sum, and what the sum is to call them.

        Returns:
            The score, the histogram of confidences, and how many images had any.
        """
        score, histogram, confident = Score.empty(self.settings), _histogram(), 0
        flat = score.matrix.counts.reshape(-1)
        for name, known_as in names.items():
            tables = self._images[name]
            cells = tables["confusion"]
            flat[cells["at"]] += cells["pixels"]
            score.images.append({"name": known_as, **_own_figures(cells, score.matrix.num_classes)})
            if score.bootstrap is not None:
                matrix = ConfusionMatrix(score.matrix.num_classes)
                matrix.counts.reshape(-1)[cells["at"]] = cells["pixels"]
                score.bootstrap.update(known_as, matrix)
            if score.boundary is not None:
                _add(score.boundary, tables["boundary"])
            if "confidence" in tables:
                confident += 1
                _add(histogram, tables["confidence"])
                _add(histogram, tables["ends"])
        return score, histogram, confident

    def save(self, path: str | os.PathLike[str], protocol: dict[str, Any]) -> None:
        """Write all counts as .npz; a kill leaves the old file or the new one.

        Args:
            path: local file; its folder exists.
            protocol: JSON content that `load` must be given again.
        """
        arrays: dict[str, Any] = {
            "protocol": _packed(protocol),
            "names": _packed(self.names),
        }
        for kind, dtype in _KINDS.items():
            tables = [tables.get(kind) for tables in self._images.values()]
            filled = [table for table in tables if table is not None]
            arrays[kind] = np.concatenate([np.empty(0, dtype), *filled])
            # -1: not counted, which is not the same as no pixel.
            lengths = [-1 if table is None else len(table) for table in tables]
            arrays[f"{kind}_lengths"] = np.array(lengths, dtype=np.int64)
        write_atomically(path, lambda file: np.savez(file, **arrays))

    def load(self, path: str | os.PathLike[str], protocol: dict[str, Any]) -> None:
        """Add the images of a file of `save` that are not counted yet.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is another, or was written under another protocol.
        """
        path = os.fspath(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            written = _unpacked(arrays["protocol"])
            names = _unpacked(arrays["names"])
            tables = {kind: _split(arrays, kind, len(names)) for kind in _KINDS}
        except (ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(
                f"{path}: expected the state of an evaluation, got another file ({error}). "
                "Delete it to evaluate from the start."
            ) from error
        _check_protocol(path, written, _unpacked(_packed(protocol)))
        for i, name in enumerate(names):
            pairs = ((kind, tables[kind][i]) for kind in _KINDS)
            found = {kind: table for kind, table in pairs if table is not None}
            self._images.setdefault(name, found)


def merge_totals(
    parts: Iterable[tuple[Score, ConfidenceHistogram, int]], settings: Settings
) -> tuple[Score, ConfidenceHistogram, int]:
    """Sum what `ImageCounts.total` gave in several processes; images by name."""
    score, histogram, confident = Score.empty(settings), _histogram(), 0
    for part, part_histogram, part_confident in parts:
        score.merge(part)
        histogram.merge(part_histogram)
        confident += part_confident
    score.images.sort(key=lambda row: row["name"])
    return score, histogram, confident


def _histogram() -> ConfidenceHistogram:
    return ConfidenceHistogram(CONFIDENCE_BINS)


def _confidence_tables(
    prediction: np.ndarray, label: np.ndarray, confidence: np.ndarray, where: str
) -> dict[str, np.ndarray]:
    if confidence.shape != label.shape:
        raise ValueError(
            f"{where}: expected confidences of the label's size {label.shape}, got "
            f"{confidence.shape}."
        )
    counted = label != IGNORE_LABEL
    histogram = _histogram()
    histogram.update(confidence[counted], prediction[counted] == label[counted], where)
    return {
        "confidence": _table("confidence", histogram.pixels, histogram.correct, histogram.steps),
        "ends": _table("ends", histogram.ends_pixels, histogram.ends_correct),
    }


def _table(kind: str, *columns: np.ndarray) -> np.ndarray:
    """Rows where any column is not 0."""
    # Of bool, flatnonzero is six times as fast as of int64.
    at = np.flatnonzero(np.logical_or.reduce([column != 0 for column in columns]))
    table = np.empty(len(at), dtype=_KINDS[kind])
    for name, column in zip(_KINDS[kind].names or (), (np.arange(0), *columns), strict=True):
        table[name] = at if name == "at" else column[at]
    return table


def _add(counts: BoundaryCounts | ConfidenceHistogram, table: np.ndarray) -> None:
    """Add to the attributes that the columns are named after."""
    for name in (table.dtype.names or ())[1:]:
        getattr(counts, name)[table["at"]] += table[name]


def _own_figures(cells: np.ndarray, num_classes: int) -> dict[str, float]:
    """mIoU_gt and pACC of one image, without its whole matrix."""
    present, at = np.unique(cells["at"] // num_classes, return_inverse=True)
    if not len(present):
        return {"mIoU_gt": float("nan"), "pACC": float("nan")}
    pixels, answer = cells["pixels"].astype(np.int64), cells["at"] % num_classes
    truth = np.bincount(at, pixels, len(present))
    predicted = np.bincount(answer, pixels, num_classes)[present]
    right = answer == cells["at"] // num_classes
    hits = np.bincount(at[right], pixels[right], len(present))
    iou = hits / (truth + predicted - hits)
    return {"mIoU_gt": float(iou.mean()), "pACC": float(hits.sum() / truth.sum())}


def _packed(content: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(content).encode("ascii"), dtype=np.uint8)


def _unpacked(array: np.ndarray) -> Any:
    return json.loads(array.tobytes())


def _split(arrays: dict[str, np.ndarray], kind: str, count: int) -> list[np.ndarray | None]:
    table, lengths = arrays[kind], arrays[f"{kind}_lengths"]
    sizes = np.maximum(lengths, 0)
    if table.dtype != _KINDS[kind] or len(lengths) != count or sizes.sum() != len(table):
        raise ValueError(f"{kind} counts do not fit")
    pieces = np.split(table, np.cumsum(sizes)[:-1]) if count else []
    # Copies: a view would keep the counts of all images alive.
    return [p.copy() if n >= 0 else None for p, n in zip(pieces, lengths, strict=True)]


def _check_protocol(path: str, written: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key in sorted(wanted.keys() | written.keys()):
        if wanted.get(key) != written.get(key):
            raise ValueError(
                f"{path}: expected an evaluation under the same protocol, got {key} "
                f"{written.get(key)!r} in the file and {wanted.get(key)!r} now. Delete the file to "
                "evaluate from the start."
            )
