"""Training on pairs some of which cannot be read: they are replaced, counted and told.

Which pair takes the place of a broken one hangs on the seed and the place in the stream alone, so
that two runs, whatever their workers and wherever they were resumed, see the same.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from stseg.data.opening import BrokenFileError, TooLargeError
from stseg.data.readers.pair_index import PairIndex
from stseg.data.sampling import SeededDataset

logger = logging.getLogger(__name__)

#: Key of a model input, on its way to the loader: what was broken before it, as (place, reason).
BROKEN_KEY = "broken"
_BROKEN = (BrokenFileError, FileNotFoundError, TooLargeError)
#: So many pairs, the last ones, tell how much of the data is broken.
_LOOKED_AT = 1000
# Tries at one place of the stream. Where even half of all pairs is broken so many never fail.
_MOST_TRIES = 100


class ReplacingDataset(SeededDataset):
    """`SeededDataset` over pairs; one that cannot be read gives way to another one."""

    records: PairIndex

    def __init__(self, records: PairIndex, mapper: Callable[[Any], Any], seed: int) -> None:
        """Args: records: the pairs; mapper: applied to each; seed: of augmentations and choice."""
        super().__init__(records, mapper, seed)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """A model input with `BROKEN_KEY`, which is all it holds where no try succeeds."""
        position, index = key
        broken: list[tuple[str, str]] = []
        while len(broken) < _MOST_TRIES:
            try:
                return super().__getitem__((position, index)) | {BROKEN_KEY: broken}
            except _BROKEN as error:
                broken.append((self.records.place(index), str(error)))
            rng = np.random.default_rng([self.seed, position, len(broken)])
            index = int(rng.integers(len(self.records)))
        return {BROKEN_KEY: broken}


class CountingLoader(DataLoader):
    """A loader of model inputs of `ReplacingDataset`, which counts what was broken.

    It counts here and not in the workers, so that count, warnings and the end of a run do not hang
    on their number.

    Attributes:
        broken: the count, of the batches handed out so far.
    """

    def __init__(self, dataset: ReplacingDataset, most_broken: float, **keywords: Any) -> None:
        """Build it.

        Args:
            dataset: of pairs.
            most_broken: share of the last 1000 pairs in [0, 1] above which loading ends.
            **keywords: of DataLoader.
        """
        super().__init__(dataset, **keywords)
        self.broken = BrokenCount(most_broken)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        """Batches.

        Raises:
            ValueError: if too many pairs are broken; names the file that holds most of them.
        """
        for batch in super().__iter__():
            self.broken.add(batch)
            yield batch


class BrokenCount:
    """How many pairs were broken.

    Attributes:
        total: of all batches.
    """

    def __init__(self, most: float) -> None:
        """Args: most: share of the last pairs in [0, 1] that may be broken."""
        self.total, self._most = 0, most
        self._last: deque[str] = deque(maxlen=_LOOKED_AT)  # places of broken pairs, "" of good ones
        self._told: set[str] = set()

    def add(self, batch: list[dict[str, Any]]) -> None:
        """Take the marks of broken pairs off a batch; one warning for each place.

        Raises:
            ValueError: if too many of the last pairs were broken.
        """
        for item in batch:
            marks = item.pop(BROKEN_KEY)
            for place, reason in marks:
                self._tell(place, reason)
            self.total += len(marks)
            self._last.extend([place for place, _ in marks])
            if not item:
                self._refuse(f"{len(marks)} in a row", marks[-1][1])
            self._last.append("")
        count = sum(map(bool, self._last))
        if len(self._last) == _LOOKED_AT and count > self._most * _LOOKED_AT:
            self._refuse(f"{count} of {_LOOKED_AT}", "the log has a reason for each file")

    def _tell(self, place: str, reason: str) -> None:
        if place not in self._told:
            self._told.add(place)
            logger.warning(
                "A pair in %s is broken, and another takes its place; more of them in there are "
                "counted and not told. %s",
                place,
                reason,
            )

    def _refuse(self, got: str, reason: str) -> None:
        places = Counter(place for place in self._last if place)
        (worst, count), *_ = places.most_common(1)
        raise ValueError(
            f"DATASETS.MAX_BROKEN: expected at most {100 * self._most:g} % of the pairs to be "
            f"broken, got {got}; of the last ones {count} are in {worst} ({reason}). Get or make "
            "that anew, or take it out of the data set."
        )
