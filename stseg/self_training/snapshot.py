"""What a model says about a fixed sample of the target images, small enough to keep and compare.

Shapes: N images, T classes, h x w pixels of a map after reduction (long side at most MAX_SIDE),
D channels of dense features at their own cells.
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

_FORMAT = 2


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
        stable: (H, W) bool, whether a pixel keeps its class on a mirrored copy of the image.
        shares: (T,) float32, mean over pixels of the class probabilities, which sum to 1.
        features: (D, h', w') float16, the model's dense features; None where it shows none.
    """

    index: int
    image: str
    label_map: np.ndarray
    confidence: np.ndarray
    entropy: float
    stable: np.ndarray
    shares: np.ndarray
    features: np.ndarray | None = None

    def reduced(self, max_side: int = MAX_SIDE) -> ImageOutput:
        """With maps of at most `max_side` pixels; nearest ones, so that no class is invented."""
        shape = self.label_map.shape
        scale = max(1.0, max(shape) / max_side)
        # The same for every model, so that pixels of two snapshots match.
        size = tuple(max(1, round(side / scale)) for side in shape)
        maps = ("label_map", "confidence", "stable")
        return replace(self, **{name: labels_at_size(getattr(self, name), size) for name in maps})


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Answers of one model for the guard's images. Made by `snapshot_of`.

    Attributes:
        classes: T display names.
        images: N names.
        labels: N maps (h, w) uint16, class ids or UNKNOWN.
        confidence: N maps (h, w) float16 in [0, 1].
        stable: N maps (h, w) bool, see `ImageOutput`.
        entropy: (N,) float64, mean normalised entropy of each image, in [0, 1].
        shares: (N, T) float32, mean class probabilities of each image.
        features: N maps (D, h', w') float16 of dense features; None where not kept.
        source_miou: mIoU on the labelled source set in points, 0 to 100; None without such a set.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    labels: tuple[np.ndarray, ...]
    confidence: tuple[np.ndarray, ...]
    stable: tuple[np.ndarray, ...]
    entropy: np.ndarray
    shares: np.ndarray
    features: tuple[np.ndarray, ...] | None = None
    source_miou: float | None = None

    @property
    def class_areas(self) -> np.ndarray:
        """(T,) float64, share of all pixels that each class wins."""
        return class_counts(self.all_labels, len(self.classes)) / max(self.all_labels.size, 1)

    @property
    def stability(self) -> np.ndarray:
        """(N,) float64 in [0, 1], share of the stable pixels of each image."""
        return np.array([stable.mean() for stable in self.stable], dtype=np.float64)

    @property
    def all_labels(self) -> np.ndarray:
        """(pixels,) uint16, the maps of all images in one row."""
        return _row(self.labels)

    @property
    def all_confidence(self) -> np.ndarray:
        """(pixels,) float16, beside `all_labels`."""
        return _row(self.confidence)

    @property
    def all_stable(self) -> np.ndarray:
        """(pixels,) bool, beside `all_labels`."""
        return _row(self.stable)

    def only(self, images: Sequence[str]) -> Snapshot:
        """Of some of the images, in their order.

        Raises:
            KeyError: if one is not among them.
        """
        place = {name: k for k, name in enumerate(self.images)}
        kept = [place[name] for name in images]

        def some(maps: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
            return tuple(maps[k] for k in kept)

        return replace(
            self,
            images=tuple(images),
            **{name: some(getattr(self, name)) for name in ("labels", "confidence", "stable")},
            **{name: getattr(self, name)[kept] for name in ("entropy", "shares")},
            features=None if self.features is None else some(self.features),
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write one .npz file; a kill leaves the old file or the new one."""
        content = {
            "format": np.int64(_FORMAT),
            "classes": np.array(self.classes, dtype=np.str_),
            "images": np.array(self.images, dtype=np.str_),
            "sizes": np.array([label.shape for label in self.labels], dtype=np.int64),
            "labels": self.all_labels,
            "confidence": self.all_confidence,
            "stable": self.all_stable,
            "entropy": self.entropy,
            "shares": self.shares,
        }
        if self.features is not None:
            content["cells"] = np.array([x.shape for x in self.features], dtype=np.int64)
            content["features"] = _row(self.features)
        if self.source_miou is not None:
            content["source_miou"] = np.float64(self.source_miou)
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
    source_miou: float | None = None,
) -> Snapshot:
    """Join a model's answers.

    Not-a-number and infinite values are kept: the guard judges them.

    Args:
        outputs: one per image, reduced, in any order.
        classes: T display names of the vocabulary.
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
    features = tuple(output.features for output in outputs if output.features is not None)
    return Snapshot(
        classes=tuple(classes),
        images=tuple(output.image for output in outputs),
        labels=tuple(np.where(m == IGNORE_LABEL, UNKNOWN, m).astype(np.uint16) for m in maps),
        confidence=tuple(output.confidence.astype(np.float16) for output in outputs),
        stable=tuple(output.stable for output in outputs),
        entropy=np.array([output.entropy for output in outputs], dtype=np.float64),
        shares=np.stack([output.shares for output in outputs]).astype(np.float32),
        features=features if len(features) == len(outputs) else None,
        source_miou=source_miou,
    )


def class_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(T,) int64, pixels of each class among ids that may hold UNKNOWN."""
    return np.bincount(labels[labels != UNKNOWN], minlength=num_classes)


def _row(maps: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.ravel() for part in maps])


def _check(output: ImageOutput, num_classes: int) -> None:
    label = output.label_map
    others = output.confidence.shape, output.stable.shape
    if label.ndim != 2 or others != (label.shape, label.shape) or not label.size:
        raise ValueError(
            f"Guard, image {output.image}: expected label map, confidence and stable pixels of one "
            f"shape (H, W), got {', '.join(map(str, (label.shape, *others)))}."
        )
    if not IGNORE_LABEL <= label.min() <= label.max() < num_classes < UNKNOWN:
        raise ValueError(
            f"Guard, image {output.image}: expected class ids in [-1, {num_classes - 1}], got "
            f"[{label.min()}, {label.max()}]."
        )


def _from_arrays(content: dict[str, np.ndarray]) -> Snapshot:
    def maps(name: str, shapes: str) -> tuple[np.ndarray, ...]:
        sizes = content[shapes]
        parts = np.split(content[name], np.cumsum(sizes.prod(axis=1))[:-1])
        return tuple(p.reshape(size) for p, size in zip(parts, sizes, strict=True))

    return Snapshot(
        classes=tuple(content["classes"].tolist()),
        images=tuple(content["images"].tolist()),
        **{name: maps(name, "sizes") for name in ("labels", "confidence", "stable")},
        **{name: content[name] for name in ("entropy", "shares")},
        features=maps("features", "cells") if "features" in content else None,
        source_miou=float(content["source_miou"]) if "source_miou" in content else None,
    )
