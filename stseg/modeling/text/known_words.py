"""Words that a small text tower has read, where its weights come with a list of them.

A CLIP of hundreds of millions of captions needs none; one that learnt from a few thousand nouns
answers to any word, and to most of them with nothing that means anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stseg.utils import read_text
from stseg.weights import find, resolve, whereabouts

_SHIPS, _BY_NAME = "stseg://", "weights://"
_PROMPT = "a photo of a {}."
_SHOWN = 10


class KnownWords:
    """What a tower knows by name, and which of it is nearest to what it does not.

    Attributes:
        words: the list.
        file: it was read from.
        SUFFIX: of its file, in the place of the ending of the weights' file.
    """

    SUFFIX = ".words.txt"

    def __init__(self, words: Sequence[str], file: str):
        """Take a list.

        Args:
            words: in any case.
            file: where people can read them.
        """
        self.words, self.file = tuple(words), file
        self._plain = frozenset(_plain(word) for word in words)

    @classmethod
    def of(cls, pretrained: str) -> KnownWords | None:
        """The list of weights of a CLIP.

        Args:
            pretrained: as MODEL.CLIP.PRETRAINED: a file, stseg://, weights:// (nothing is fetched),
                or a tag of open_clip, which has no list.

        Returns:
            None where no list lies beside the file: the tower is taken to know all words.
        """
        if pretrained.startswith(_BY_NAME):
            file = whereabouts(find(pretrained.removeprefix(_BY_NAME)))
        else:
            file = resolve(pretrained) if pretrained.startswith(_SHIPS) else pretrained
        if not file or not Path(file).is_file():
            return None
        path = Path(file).with_suffix(cls.SUFFIX)
        if not path.is_file():
            return None
        return cls(read_text(path, str(path)).splitlines(), str(path))

    def knows(self, name: str) -> bool:
        """Whether a name is in the list, or the thing that it ends with: "red car" is a car."""
        parts = _plain(name).split()
        ends = (" ".join(parts[i:]) for i in range(len(parts)))
        return any(end in self._plain or end.removesuffix("s") in self._plain for end in ends)

    def notes(self, names: Sequence[str], encode: Callable[[Sequence[str]], Tensor]) -> list[str]:
        """What to tell of names that are not known, in at most one sentence.

        Args:
            names: to be asked for.
            encode: N texts to unit vectors (N, C), see `CLIPTextEncoder.encode_prompts`.
        """
        unknown = [name for name in dict.fromkeys(names) if not self.knows(name)]
        if not unknown:
            return []
        shown = unknown[:_SHOWN]
        pairs = zip(shown, self.nearest(shown, encode), strict=True)
        told = ", ".join(f"{name!r} (nearest: {near!r})" for name, near in pairs)
        more = f" and {len(unknown) - len(shown)} more" if len(unknown) > len(shown) else ""
        return [
            f"These weights know {len(self.words):,} nouns, and not {told}{more}: what is answered "
            f"there is mostly what they find for the nearest known one. Known: {self.file}."
        ]

    def nearest(self, names: Sequence[str], encode: Callable[[Sequence[str]], Tensor]) -> list[str]:
        """The known word whose text lies closest to that of each name.

        Args:
            names: N of them.
            encode: as in `notes`.
        """
        known, asked = (
            encode([_PROMPT.replace("{}", word) for word in words]) for words in (self.words, names)
        )
        return [self.words[int(i)] for i in torch.argmax(asked @ known.T, dim=1)]


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("-", " ").replace("_", " ").split())
