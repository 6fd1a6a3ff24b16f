"""The nouns of ImageNet, out of timm's tables: names of a thing and a line that says what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from timm.data import ImageNetInfo


@dataclass(frozen=True)
class Noun:
    """A synset of WordNet.

    Attributes:
        names: its lemmas, such as ("tench", "Tinca tinca").
        gloss: its definition.
    """

    names: tuple[str, ...]
    gloss: str


@cache
def load_nouns(subset: str) -> tuple[Noun, ...]:
    """The classes of "imagenet-1k", in the order of networks, or of "imagenet-22k"."""
    info = ImageNetInfo(subset)
    found = []
    for index in range(info.num_classes()):
        names, _, gloss = info.index_to_description(index, detailed=True).partition(": ")
        found.append(Noun(tuple(name.strip() for name in names.split(",")), gloss))
    return tuple(found)


def classes_of_names() -> dict[str, tuple[int, ...]]:
    """For every name of the 1,000 classes, in lower case and in order, the classes that have it."""
    found: dict[str, list[int]] = {}
    for index, noun in enumerate(load_nouns("imagenet-1k")):
        for name in noun.names:
            found.setdefault(name.lower(), []).append(index)
    return {name: tuple(dict.fromkeys(found[name])) for name in sorted(found)}


def held_out_names(share: float, seed: int) -> frozenset[str]:
    """Some of the names of the 1,000 classes, in lower case, drawn."""
    names = list(classes_of_names())
    drawn = np.random.default_rng(seed).permutation(len(names))[: round(share * len(names))]
    return frozenset(names[i] for i in drawn)


def without(nouns: Sequence[Noun], names: frozenset[str]) -> tuple[Noun, ...]:
    """Nouns that do not have some names any more; one may have none left.

    Args:
        nouns: in any order.
        names: in lower case.
    """
    return tuple(
        Noun(tuple(n for n in noun.names if n.lower() not in names), noun.gloss) for noun in nouns
    )
