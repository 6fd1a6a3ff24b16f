"""Which of the 1,000 classes a noun is akin to, by the words that names and definitions share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.photo_clip.lineage import plain
from stseg.photo_clip.nouns import Noun

# Words that stand in definitions and say nothing of what is seen.
_EMPTY = frozenset(
    "a an and any are as at be by can for from has have having in into is it its large new not of "
    "old on one only or out small some that the to two up used usually very which who with".split()
)
_LONGEST = 3  # words of a name that is looked for in definitions
_MOST = 20  # classes that a noun is akin to
_LEAST = 0.1  # of the similarity that counts


class Kinship:
    """Similarity of texts to those of the classes: cosine of words, rare ones weighing more."""

    def __init__(self, classes: Sequence[Noun], nouns: Sequence[Noun]):
        """Count words.

        Args:
            classes: the K classes.
            nouns: all nouns, by which a word is rare or not.
        """
        texts = [_words(noun) for noun in nouns]
        counts = Counter(word for text in texts for word in text)
        own = [_words(noun) for noun in classes]
        self._column = {word: i for i, word in enumerate(sorted(set().union(*own)))}
        rarity = [counts.get(word, 0) + 1 for word in self._column]
        self._weight = torch.log(len(texts) / torch.tensor(rarity)).clamp(min=0.0)
        self._classes = self._rows(own)

    def of(self, nouns: Sequence[Noun]) -> Tensor:
        """Shares (N, K) of the classes that each noun is akin to; all 0 where there is none."""
        similar = self._rows([_words(noun) for noun in nouns]) @ self._classes.T
        best = similar.topk(min(_MOST, similar.shape[1]))
        kept = best.values * (best.values > _LEAST)
        shares = torch.zeros_like(similar).scatter_(1, best.indices, kept**2)
        return shares / shares.sum(1, keepdim=True).clamp(min=1e-9)

    def _rows(self, texts: Sequence[frozenset[str]]) -> Tensor:
        """(N, words) unit rows."""
        rows = torch.zeros(len(texts), len(self._column))
        for row, text in zip(rows, texts, strict=True):
            columns = [self._column[word] for word in text if word in self._column]
            row[columns] = self._weight[columns]
        return F.normalize(rows)


def classes_told_by(classes: Sequence[Noun], words: Sequence[str]) -> Mapping[str, tuple[int, ...]]:
    """For words that names or definitions use, the classes that do: for "dog", all its breeds.

    Args:
        classes: whose texts are looked at.
        words: of one to three words each; what stands nowhere is left out.
    """
    places: dict[str, dict[int, None]] = {}
    for index, noun in enumerate(classes):
        text = plain(" ; ".join([*noun.names, noun.gloss])).split()
        for length in range(1, _LONGEST + 1):
            for start in range(len(text) - length + 1):
                places.setdefault(" ".join(text[start : start + length]), {})[index] = None
    wanted = {word: plain(word) for word in words if word.lower() not in _EMPTY}
    return {word: tuple(places[text]) for word, text in wanted.items() if text in places}


def _words(noun: Noun) -> frozenset[str]:
    text = plain(" ".join([*noun.names, noun.gloss])).replace(";", " ")
    return frozenset(text.split()) - _EMPTY
