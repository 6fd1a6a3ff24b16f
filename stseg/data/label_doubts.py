"""Does the value that stands for "no class" stand for a class after all? NumPy and Pillow only.

Most tools that paint masks write the last class as 255. Read as ids, its pixels are ignored, and an
answer that never finds the class gets full marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from stseg.data.label_coding import LabelCoding
from stseg.structures import IGNORE_LABEL
from stseg.utils import some_of

#: Up to so many names a missing one beside the ignored value is no chance.
_FEW = 3
#: Label maps that are looked at, evenly spread, before any doubt; more where doubt is likely.
_SAMPLE, _SAMPLE_OF_FEW = 48, 200


class DoubtfulLabelsError(ValueError):
    """Label maps whose ignored value seems to be a class."""


class LabelDoubts:
    """Collects which classes the label maps of a data set hold, file by file."""

    def __init__(self, coding: LabelCoding, names: Sequence[str]) -> None:
        """Args: coding: of the files; names: of the classes."""
        self.coding, self.names = coding, tuple(names)
        self.files = 0
        self._found: set[int] = set()
        self._ignored_files = 0
        self._beside: set[int] = set()  # classes in one file with the ignored value

    def add(self, classes: Iterable[int], has_ignored: bool) -> None:
        """Count a file.

        Args:
            classes: ids of the classes in it.
            has_ignored: it holds pixels of the ignored value, too.
        """
        held = set(classes)
        self.files += 1
        self._found |= held
        if has_ignored:
            self._ignored_files += 1
            self._beside |= held

    @property
    def missing(self) -> list[int]:
        """Classes in no file."""
        return [i for i in range(len(self.names)) if i not in self._found]

    @property
    def is_one_class(self) -> bool:
        """Whether one of several classes is all there is."""
        return len(self._found) == 1 < len(self.names)

    @property
    def is_doubtful(self) -> bool:
        """Whether the ignored value seems to be a class."""
        if self.coding.is_stated or not (self.coding.is_plain and self._ignored_files):
            return False
        if not self._found:
            return False
        last, is_few = len(self.names) - 1, len(self.names) <= _FEW
        if self.missing or last == 0:  # of one name that class is 255, and the ground 0
            is_replaced = last in self.missing or last == 1
            return last == 0 or self._found == {0} or (is_few and is_replaced)
        # Some files with 1, others with 255 in its place: no file has both.
        candidates = range(2) if last == 1 else (last,)
        return is_few and any(i not in self._beside for i in candidates)

    @property
    def text(self) -> str:
        """What is expected and what was found, without the name of the data set."""
        value = self.coding.ignore[0]
        lacking = some_of([self.names[i] for i in self.missing or [self._replaced]])
        where = f"with {lacking} {'in none' if self.missing else 'never beside it'}"
        if len(self.names) == 1:
            where = f"beside {lacking}, the only class"
        return (
            f"expected {value} to mean 'no class', got it in {self._ignored_files} of {self.files} "
            f"label maps, {where}: it seems to be a class, whose pixels would be "
            "left out"
        )

    @property
    def cure(self) -> str:
        """What to do about it."""
        value, last = self.coding.ignore[0], self._replaced
        is_ground = len(self.names) == 1
        kept = ["0:ignore"] if is_ground else [f"{i}:{i}" for i in sorted(self._found)]
        table = ",".join([*kept, f"{value}:{last}"])
        return (
            f"Say what the values mean (value:class): values={table}; or ignore={value} if its "
            "pixels really carry no class."
        )

    @property
    def _replaced(self) -> int:
        """The class that the ignored value seems to be."""
        apart = [i for i in range(len(self.names)) if i not in self._beside]
        return (self.missing or apart or [0])[-1]

    @property
    def lacking(self) -> str:
        """What is worth a warning where one class is all there is."""
        return (
            f"none of {self.files} label maps looked into holds "
            f"{some_of([self.names[i] for i in self.missing])}: an answer of one class gets full "
            "marks, and nothing else is learnt"
        )

    def check(self, where: str) -> None:
        """Refuse doubtful label maps.

        Raises:
            DoubtfulLabelsError: says what to do; `where` begins the message.
        """
        if self.is_doubtful:
            raise DoubtfulLabelsError(f"{where}: {self.text}. {self.cure}")


@lru_cache(maxsize=16)  # every loader of a run asks
def doubts_about(
    files: tuple[str, ...], coding: LabelCoding, names: tuple[str, ...]
) -> LabelDoubts:
    """Look into label maps, into a few of many where they give no cause for doubt.

    Raises:
        OSError: if a file cannot be decoded.
        ValueError: if it holds what has no meaning.
    """
    doubts = LabelDoubts(coding, names)
    count = min(len(files), _SAMPLE_OF_FEW if len(names) <= _FEW else _SAMPLE)
    chosen = np.linspace(0, len(files) - 1, count).round().astype(int).tolist()
    others = sorted(set(range(len(files))) - set(chosen))
    for number, place in enumerate([*chosen, *others]):
        if number >= len(chosen) and not doubts.is_doubtful:
            break
        held = np.unique(coding.read(files[place], np.int32)).tolist()
        doubts.add([i for i in held if i != IGNORE_LABEL], IGNORE_LABEL in held)
    return doubts
