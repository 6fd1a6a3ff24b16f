"""What a model says about a fixed sample of the target images, small enough to keep and compare.

Shapes: N images, T classes, h x w pixels of a map after reduction (long side at most MAX_SIDE).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

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
        entropy: (H, W) float, or its mean: entropy of the class probabilities divided by log T,
            in [0, 1].
        stability: share of the pixels that keep their class on a mirrored copy of the image, in
            [0, 1]; None where not measured.
    """

    index: int
    image: str
    label_map: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray | float
    stability: float | None = None


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
        stability: (N,) float64 in [0, 1], see `ImageOutput`; None where not measured.
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
    stability: np.ndarray | None = None
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
        optional = {"stability": self.stability, "coverage": self.coverage}
        if self.source_miou is not None:
            optional["source_miou"] = np.float64(self.source_miou)
        content = {
            "format": np.int64(_FORMAT),
            "classes": np.array(self.classes, dtype=np.str_),
            "order": self.order,
            "images": np.array(self.images, dtype=np.str_),
            "sizes": np.array([label.shape for label in self.labels], dtype=np.int64),
            "labels": self.all_labels,
            "confidence": self.all_confidence,
            "entropy": self.entropy,
            **{key: value for key, value in optional.items() if value is not None},
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
    max_side: int = MAX_SIDE,
) -> Snapshot:
    """Reduce a model's answers to a snapshot.

    Not-a-number and infinite values are kept: the guard judges them.

    Args:
        outputs: one per image, in any order; consumed one by one, so that a generator keeps only
            one image at full size in memory.
        classes: T display names of the vocabulary.
        coverage: (T,), see `Snapshot`.
        source_miou: points, see `Snapshot`.
        max_side: longest side of the reduced maps in pixels.

    Raises:
        ValueError: without images, with one index twice, with maps of different size, with a class
            id outside [-1, T), or with a stability for some images only.
    """
    rows = sorted((_reduce(o, len(classes), max_side) for o in outputs), key=lambda row: row[0])
    if not rows:
        raise ValueError("Guard: expected at least one image to judge by, got none.")
    order, images, labels, confidence, entropy, stability = zip(*rows, strict=True)
    _check_places(order)
    if len({value is None for value in stability}) > 1:
        raise ValueError("Guard: expected a stability for every image or for none, got some.")
    return Snapshot(
        classes=tuple(classes),
        order=np.array(order, dtype=np.int64),
        images=images,
        labels=labels,
        confidence=confidence,
        entropy=np.array(entropy, dtype=np.float64),
        stability=None if stability[0] is None else np.array(stability, dtype=np.float64),
        coverage=None if coverage is None else np.asarray(coverage, dtype=np.float64),
        source_miou=source_miou,
    )


def merge_shards(shards: Sequence[Snapshot | None]) -> Snapshot:
    """Join what several processes saw of the guard's sample, in the order of the images.

    A process without images hands in None. Coverage and source mIoU are taken from the first
    shard that has them.

    Raises:
        ValueError: without shards, with other classes in some, or with one image in two.
    """
    shards = [shard for shard in shards if shard is not None]
    if not shards:
        raise ValueError("Guard: expected at least one shard, got none.")
    first = shards[0]
    if any(shard.classes != first.classes for shard in shards):
        raise ValueError("Guard: expected the same classes in every shard, got different ones.")
    if len({shard.stability is None for shard in shards}) > 1:
        raise ValueError("Guard: expected a stability in every shard or in none, got some.")
    order = np.concatenate([shard.order for shard in shards])
    _check_places(order.tolist())
    by_place = np.argsort(order)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(shard, name) for shard in shards])[by_place]

    def listed(name: str) -> tuple:
        values = [value for shard in shards for value in getattr(shard, name)]
        return tuple(values[i] for i in by_place)

    def first_given(name: str):
        return next((v for s in shards if (v := getattr(s, name)) is not None), None)

    return Snapshot(
        classes=first.classes,
        order=order[by_place],
        images=listed("images"),
        labels=listed("labels"),
        confidence=listed("confidence"),
        entropy=joined("entropy"),
        stability=None if first.stability is None else joined("stability"),
        coverage=first_given("coverage"),
        source_miou=first_given("source_miou"),
    )


def class_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(T,) int64, pixels of each class among ids that may hold UNKNOWN."""
    return np.bincount(labels[labels != UNKNOWN], minlength=num_classes)


def _reduce(output: ImageOutput, num_classes: int, max_side: int) -> tuple:
    """Fields of one image in a snapshot's order; nearest pixels, so that no class is invented."""
    label, confidence = np.asarray(output.label_map), np.asarray(output.confidence)
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
    scale = max(1.0, max(label.shape) / max_side)
    # Cell centres; the same for every model, so that pixels of two snapshots match.
    picked = np.ix_(*(_centres(side, max(1, round(side / scale))) for side in label.shape))
    small = label[picked]
    return (
        int(output.index),
        str(output.image),
        np.where(small == IGNORE_LABEL, UNKNOWN, small).astype(np.uint16),
        confidence[picked].astype(np.float16),
        float(np.mean(output.entropy, dtype=np.float64)),
        None if output.stability is None else float(output.stability),
    )


def _centres(side: int, cells: int) -> np.ndarray:
    return ((np.arange(cells) + 0.5) * side / cells).astype(np.int64)


def _check_places(order: Sequence[int]) -> None:
    twice = sorted({place for place in order if list(order).count(place) > 1})
    if twice:
        raise ValueError(f"Guard: expected every image once, got places {twice[:8]} twice.")


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
        stability=content.get("stability"),
        coverage=content.get("coverage"),
        source_miou=float(content["source_miou"]) if "source_miou" in content else None,
    )
