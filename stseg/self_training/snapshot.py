"""What a model says about a fixed sample of the target images, small enough to keep and compare.

Shapes: N images, T classes, h x w pixels of a map after reduction (long side at most MAX_SIDE).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np

from stseg.render import labels_at_size
from stseg.structures import IGNORE_LABEL
from stseg.utils import write_atomically

MAX_SIDE = 256
#: Id in a snapshot's label maps of pixels that the model gave no class.
UNKNOWN = 65535

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class ImageOutput:
    """What a model says about one image.

    Attributes:
        index: place of the image in the guard's sample; decides the order of a snapshot.
        image: its name, for example the file name.
        label_map: (H, W) integer class ids, IGNORE_LABEL where unknown.
        confidence: (H, W) float in [0, 1], of the class shown.
        entropy: mean over pixels of the entropy of the class probabilities divided by log T, in
            [0, 1].
        stability: share of the pixels that keep their class on a mirrored copy of the image, in
            [0, 1].
    """

    index: int
    image: str
    label_map: np.ndarray
    confidence: np.ndarray
    entropy: float
    stability: float

    def reduced(self, max_side: int = MAX_SIDE) -> ImageOutput:
        """With maps of at most `max_side` pixels; nearest ones, so that no class is invented."""
        shape = self.label_map.shape
        scale = max(1.0, max(shape) / max_side)
        # The same for every model, so that pixels of two snapshots match.
        size = tuple(max(1, round(side / scale)) for side in shape)
        label_map, confidence = (labels_at_size(m, size) for m in (self.label_map, self.confidence))
        return replace(self, label_map=label_map, confidence=confidence)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Answers of one model for the guard's images. Made by `snapshot_of`.

    Attributes:
        classes: T display names.
        order: (N,) int64, place of each image in the guard's sample, rising.
        images: N names.
        labels: N maps (h, w) uint16, class ids or UNKNOWN.
        confidence: N maps (h, w) float16 in [0, 1].
        entropy: (N,) float64, mean normalised entropy of each image, in [0, 1].
        stability: (N,) float64 in [0, 1], see `ImageOutput`.
        coverage: (T,) float64 in [0, 1], share of each class's pixels that the pseudo-labels
            accept, NaN for classes without pixels; None where not known.
        source_miou: mIoU on the labelled source set in points, 0 to 100; None without such a set.
    """

    classes: tuple[str, ...]
    order: np.ndarray
    images: tuple[str, ...]
    labels: tuple[np.ndarray, ...]
    confidence: tuple[np.ndarray, ...]
    entropy: np.ndarray
    stability: np.ndarray
    coverage: np.ndarray | None = None
    source_miou: float | None = None

    @property
    def class_areas(self) -> np.ndarray:
        """(T,) float64, share of all pixels that each class wins."""
        return class_counts(self.all_labels, len(self.classes)) / max(self.all_labels.size, 1)

    @property
    def all_labels(self) -> np.ndarray:
        """(pixels,) uint16, the maps of all images in one row."""
        return np.concatenate([label.ravel() for label in self.labels])

    @property
    def all_confidence(self) -> np.ndarray:
        """(pixels,) float16, beside `all_labels`."""
        return np.concatenate([confidence.ravel() for confidence in self.confidence])

    def save(self, path: str | PathLike[str]) -> None:
        """Write one .npz file; a kill leaves the old file or the new one."""
        optional = {"coverage": self.coverage, "source_miou": self.source_miou}
        content = {
            "format": np.int64(_FORMAT),
            "classes": np.array(self.classes, dtype=np.str_),
            "order": self.order,
            "images": np.array(self.images, dtype=np.str_),
            "sizes": np.array([label.shape for label in self.labels], dtype=np.int64),
            "labels": self.all_labels,
            "confidence": self.all_confidence,
            "entropy": self.entropy,
            "stability": self.stability,
            **{k: np.asarray(value) for k, value in optional.items() if value is not None},
        }
        write_atomically(path, lambda file: np.savez_compressed(file, **content))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Snapshot:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no snapshot; names the file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = dict(file)
            if int(content["format"]) != _FORMAT:
                raise ValueError(f"format {int(content['format'])}")
            return _from_arrays(content)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as e:
            raise ValueError(
                f"Guard snapshot {path}: expected a file written by Snapshot.save, got another "
                f"({e}). Remove it; the guard makes it anew."
            ) from e


def snapshot_of(
    outputs: Iterable[ImageOutput],
    classes: Sequence[str],
    *,
    coverage: np.ndarray | None = None,
    source_miou: float | None = None,
) -> Snapshot:
    """Join a model's answers.

    Not-a-number and infinite values are kept: the guard judges them.

    Args:
        outputs: one per image, reduced, in any order.
        classes: T display names of the vocabulary.
        coverage: (T,), see `Snapshot`.
        source_miou: points, see `Snapshot`.

    Raises:
        ValueError: without images, with one index twice, with maps of different size, or with a
            class id outside [-1, T).
    """
    outputs = sorted(outputs, key=lambda output: output.index)
    if not outputs:
        raise ValueError("Guard: expected at least one image to judge by, got none.")
    for output in outputs:
        _check(output, len(classes))
    order = [output.index for output in outputs]
    if twice := sorted({place for place in order if order.count(place) > 1}):
        raise ValueError(f"Guard: expected every image once, got places {twice[:8]} twice.")
    maps = [output.label_map for output in outputs]
    return Snapshot(
        classes=tuple(classes),
        order=np.array(order, dtype=np.int64),
        images=tuple(output.image for output in outputs),
        labels=tuple(np.where(m == IGNORE_LABEL, UNKNOWN, m).astype(np.uint16) for m in maps),
        confidence=tuple(output.confidence.astype(np.float16) for output in outputs),
        entropy=np.array([output.entropy for output in outputs], dtype=np.float64),
        stability=np.array([output.stability for output in outputs], dtype=np.float64),
        coverage=None if coverage is None else np.asarray(coverage, dtype=np.float64),
        source_miou=source_miou,
    )


def class_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(T,) int64, pixels of each class among ids that may hold UNKNOWN."""
    return np.bincount(labels[labels != UNKNOWN], minlength=num_classes)


def _check(output: ImageOutput, num_classes: int) -> None:
    label, confidence = output.label_map, output.confidence
    if label.ndim != 2 or label.shape != confidence.shape or not label.size:
        raise ValueError(
            f"Guard, image {output.image}: expected label map and confidence of one shape (H, W), "
            f"got {label.shape} and {confidence.shape}."
        )
    if not IGNORE_LABEL <= label.min() <= label.max() < num_classes < UNKNOWN:
        raise ValueError(
            f"Guard, image {output.image}: expected class ids in [-1, {num_classes - 1}], got "
            f"[{label.min()}, {label.max()}]."
        )


def _from_arrays(content: dict[str, np.ndarray]) -> Snapshot:
    sizes = content["sizes"]
    ends = np.cumsum(sizes.prod(axis=1))[:-1]

    def maps(name: str) -> tuple[np.ndarray, ...]:
        parts = np.split(content[name], ends)
        return tuple(p.reshape(size) for p, size in zip(parts, sizes, strict=True))

    return Snapshot(
        classes=tuple(content["classes"].tolist()),
        order=content["order"],
        images=tuple(content["images"].tolist()),
        labels=maps("labels"),
        confidence=maps("confidence"),
        entropy=content["entropy"],
        stability=content["stability"],
        coverage=content.get("coverage"),
        source_miou=float(content["source_miou"]) if "source_miou" in content else None,
    )
