"""Labellers that go wrong in a known way, to see what the guard of self-training makes of it.

Each is in LABELER_REGISTRY, once for every world, and labels as `build_sam_labeler` does, then
spoils the map. Shapes: H x W pixels, T classes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.guard_worlds import WORLDS, World
from stseg.self_training import LABELER_REGISTRY, Labeler
from stseg.self_training.from_config import build_sam_labeler
from stseg.self_training.pseudo_label import PseudoLabel
from stseg.structures import IGNORE_LABEL

Spoil = Callable[[np.ndarray, tuple[str, ...]], np.ndarray]


def shifted(pixels: int) -> Spoil:
    """Down and to the right; nothing is labelled where nothing came from."""

    def spoil(labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        moved = np.full_like(labels, IGNORE_LABEL)
        moved[pixels:, pixels:] = labels[:-pixels, :-pixels]
        return moved

    return spoil


def _renamed(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.where(labels >= 0, others[labels.clip(0)], IGNORE_LABEL).astype(labels.dtype)


def _random(labels: np.ndarray) -> np.random.Generator:
    """Of its own for every map, whatever the order in which maps come."""
    return np.random.default_rng(zlib.crc32(np.ascontiguousarray(labels).tobytes()))


def shuffled(labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Classes of an image go by other names in every image."""
    return _renamed(labels, _random(labels).permutation(len(names)))


def one_class(labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """All is what the first class is."""
    return np.where(labels >= 0, 0, IGNORE_LABEL).astype(labels.dtype)


def swapped(*pairs: tuple[str, str]) -> Spoil:
    """Pairs of classes change places."""

    def spoil(labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        others = np.arange(len(names))
        for one, two in ((names.index(a), names.index(b)) for a, b in pairs):
            others[[one, two]] = two, one
        return _renamed(labels, others)

    return spoil


def ring(things: Sequence[str]) -> Spoil:
    """Every small class goes by the name of the next."""

    def spoil(labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        small = _ids(things, names)
        others = np.arange(len(names))
        others[small] = np.roll(small, -1)
        return _renamed(labels, others)

    return spoil


def erased(things: Sequence[str]) -> Spoil:
    """Small classes are what most of the picture is, in half of the pictures."""

    def spoil(labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        known = labels[labels >= 0]
        if not known.size or _random(labels).random() < 0.5:
            return labels
        gone = np.isin(labels, _ids(things, names))
        return np.where(gone, np.bincount(known).argmax(), labels).astype(labels.dtype)

    return spoil


def without(gone: Sequence[str]) -> Spoil:
    """Some classes have no label."""

    def spoil(labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        hidden = np.isin(labels, _ids(gone, names))
        return np.where(hidden, IGNORE_LABEL, labels).astype(labels.dtype)

    return spoil


def _ids(some: Sequence[str], names: tuple[str, ...]) -> np.ndarray:
    return np.array([k for k, name in enumerate(names) if name in some])


def poisons(world: World) -> dict[str, Spoil]:
    """What each does to a label map (H, W) of a world's names."""
    return {
        "shuffled": shuffled,
        **{f"shift_{pixels}": shifted(pixels) for pixels in world.shifts},
        "one_class": one_class,
        "swapped_1": swapped(world.one_pair),
        "swapped_3": swapped(*world.three_pairs),
        "ring": ring(world.things),
        "erased": erased(world.things[:5]),
        "no_unseen": without(world.unseen),
    }


class PoisonedLabeler(Labeler):
    """Labels, and spoils the labels."""

    spoil: Spoil

    def label(self, *args: Any, **kwargs: Any) -> PseudoLabel:
        """As `Labeler.label`, spoiled; the records still tell what the model found."""
        label = super().label(*args, **kwargs)
        return replace(label, label_map=self.spoil(label.label_map, self.names))


def labeler_name(poison: str, world: World) -> str:
    """Of a poison in a world, in LABELER_REGISTRY."""
    return f"poison_{poison}{world.suffix}"


def _builder(name: str, spoil: Spoil) -> Callable[..., Labeler]:
    def build(cfg: Any, target: Any, model: Any) -> Labeler:
        plain = build_sam_labeler(cfg, target, model)
        labeler = PoisonedLabeler(plain.names)
        labeler.__dict__.update(plain.__dict__, spoil=spoil)
        return labeler

    build.__name__ = name
    return build


for _world in WORLDS.values():
    for _name, _spoil in poisons(_world).items():
        LABELER_REGISTRY.register(_builder(labeler_name(_name, _world), _spoil))
