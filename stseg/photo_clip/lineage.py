"""What a noun is a kind of, read off its names and its definition: timm's tables have no tree.

A golden retriever is a retriever by its name, and that is "a dog with heavy water-resistant coat"
by its definition. Some such steps go wrong: an axolotl is taken for a dog.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from stseg.photo_clip.nouns import Noun

#: Words at which the first noun phrase of a definition ends.
_ENDS = frozenset(
    "that which with having of used for in on from by resembling similar consisting made designed "
    "worn usually especially found native but at to when where as formerly".split()
)
#: Words of "any of several breeds of", after which the phrase goes on.
_PASSED = frozenset(
    "a an the any some large small several various numerous very type types kind kinds form forms "
    "breed breeds species genus variety varieties most one group member members class family or "
    "and other these term name part piece set certain".split()
)
_PLURALS = (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("es", ""), ("s", ""))
_LONGEST, _STEPS = 3, 5


class Lineage:
    """Steps from nouns to what they are kinds of."""

    def __init__(self, nouns: Sequence[Noun]):
        """Index names.

        Args:
            nouns: all that a step may lead to.
        """
        self._nouns: dict[str, Noun] = {}
        for noun in nouns:  # the first meaning of which a word is the first name, else the first
            for place, name in enumerate(map(plain, noun.names)):
                known = self._nouns.get(name)
                if known is None or (place == 0 and plain(known.names[0]) != name):
                    self._nouns[name] = noun
        self._breeds: dict[str, str] = {}
        before = ""
        for noun in nouns:  # the table goes through the tree: a terrier comes after the hounds
            if _is_breed(noun.gloss):
                self._breeds[noun.gloss] = before
            else:
                before = self._beginning(noun.gloss) or before

    def of(self, noun: Noun) -> frozenset[str]:
        """All names of what a noun is a kind of, and its own, as `plain` writes them."""
        found = {plain(name) for name in noun.names}
        level = self._kinds(noun)
        for _ in range(_STEPS):
            fresh = [self._nouns[word] for word in sorted(level - found)]
            found |= level
            for parent in fresh:
                found.update(map(plain, parent.names))
            level = set().union(*map(self._kinds, fresh)) - found
        return frozenset(found)

    def _kinds(self, noun: Noun) -> set[str]:
        """One step: the last words of its names, and the noun that its definition begins with."""
        found = set()
        for name in noun.names:
            words = plain(name).split()
            ends = (" ".join(words[start:]) for start in range(1, len(words)))
            found.update([next((end for end in ends if end in self._nouns), "")])
        return (found | {self._beginning(noun.gloss)}) - {""}

    def _beginning(self, gloss: str) -> str:
        """The head of a definition's first noun phrase; "" where none is known."""
        if gloss in self._breeds:
            return self._breeds[gloss]
        phrase: list[str] = []
        for word in _first_words(gloss):
            if word not in _ENDS:
                phrase.append(word)
            elif phrase and not (word == "of" and phrase[-1] in _PASSED):
                break
            else:
                phrase = []
        for length in range(min(_LONGEST, len(phrase)), 0, -1):
            for head in _singular(" ".join(phrase[-length:])):
                if head in self._nouns and head not in _PASSED:
                    return head
        return ""


def classes_by_kind(
    classes: Sequence[Noun], nouns: Sequence[Noun]
) -> Mapping[str, tuple[int, ...]]:
    """For every name that classes have or are kinds of, which they are: "dog", all its breeds.

    Args:
        classes: in their order.
        nouns: all that they may be kinds of.
    """
    lineage, found = Lineage(nouns), dict[str, list[int]]()
    for index, noun in enumerate(classes):
        for name in sorted(lineage.of(noun)):
            found.setdefault(name, []).append(index)
    return {name: tuple(found[name]) for name in sorted(found)}


def _first_words(gloss: str) -> list[str]:
    """Of a definition, up to the first mark."""
    return plain(re.split(r"[;(,:]", gloss)[0]).replace("small to medium", "small").split()


def _is_breed(gloss: str) -> bool:
    """Whether a definition says "a breed" without of what."""
    words = _first_words(gloss)
    place = next((i for i, word in enumerate(words) if word in ("breed", "breeds")), None)
    return place is not None and words[place + 1 : place + 2] != ["of"]


def plain(text: str) -> str:
    """Words and semicolons, in lower case."""
    return " ".join(re.sub(r"[^a-z0-9;]+", " ", text.lower()).split())


def _singular(words: str) -> Iterator[str]:
    """The words, then what they may be a plural of."""
    yield words
    for ending, one in _PLURALS:
        if words.endswith(ending) and len(words) > len(ending) + 2:
            yield words.removesuffix(ending) + one
