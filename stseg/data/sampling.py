"""The training stream: an endless, seeded sequence that can be entered anywhere.

Position p of the stream always names the same sample with the same augmentation, whatever the
number of processes and workers and wherever training was resumed.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler


def spread(count: int, size: int) -> list[int]:
    """`count` indices spread evenly over `size`, fewer where there are fewer."""
    return sorted({k * size // count for k in range(count)}) if size else []


class StreamSampler(Sampler[tuple[int, int]]):
    """Yields (position in an endless stream, index of the sample) for one process.

    Process r of R takes the positions r, r + R, r + 2 R, ..., so that all processes together take
    one contiguous block of positions per step.
    """

    def __init__(self, *, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        """Enter the stream.

        Args:
            start: positions that all processes together have consumed already.
            rank: of this process, in [0, world_size).
            world_size: number of processes.
        """
        self.start, self.rank, self.world_size = start, rank, world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.start + self.rank
        while True:
            yield position, self.index_at(position)
            position += self.world_size

    def index_at(self, position: int) -> int:
        """Index of the sample at any position, counted from 0 over all processes."""
        raise NotImplementedError


class PositionSampler(StreamSampler):
    """Yields (position in the stream, index of the sample) for one process, without end.

    The stream is one random order of the data set after another. Process r of R takes the
    positions r, r + R, r + 2 R, ..., so that all processes together take one contiguous block of
    positions per step, which one process with the total batch size would take as well. An order
    takes 8 bytes per sample, in the process that draws it and not in its workers.

    With weights an order still has `size` places, so that the stream can be entered anywhere:
    systematic resampling (Kitagawa, 1996) gives sample i either floor or ceil of
    size w_i / sum(w) of them, in expectation exactly that.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        *,
        weights: Sequence[float] | np.ndarray | None = None,
        **place: int,
    ) -> None:
        """Describe the stream.

        Args:
            size: number of samples.
            seed: of the orders; the same in all processes.
            weights: (size,) how often each sample is wanted, relative to the others, 0 for never;
                None: each once per order.
            **place: `start`, `rank` and `world_size` of `StreamSampler`.

        Raises:
            ValueError: without samples, or if the weights do not fit.
        """
        if size < 1:
            raise ValueError(f"Training data: expected at least one sample, got {size}.")
        super().__init__(**place)
        self.size, self.seed = size, seed
        self.weights = None if weights is None else _checked_weights(weights, size)
        self._order = -1, np.empty(0, dtype=np.int64)

    def index_at(self, position: int) -> int:
        """Index of the sample at any position, counted from 0 over all processes."""
        epoch, place = divmod(position, self.size)
        if self._order[0] != epoch:
            # Every order has a seed of its own: entering late need not draw earlier ones.
            rng = np.random.default_rng([self.seed, epoch])
            self._order = -1, np.empty(0, dtype=np.int64)  # frees the last one before
            samples = self.size if self.weights is None else self._resampled(self.weights, rng)
            self._order = epoch, rng.permutation(samples)
        return int(self._order[1][place])

    def _resampled(self, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(size,) int64 indices by weight, ascending."""
        ends = np.cumsum(weights) * (self.size / weights.sum())
        chosen = np.searchsorted(ends, np.arange(self.size) + rng.random(), side="right")
        # Rounding may leave the last end a hair below `size`.
        return np.minimum(chosen, np.flatnonzero(weights)[-1])


def _checked_weights(weights: Sequence[float] | np.ndarray, size: int) -> np.ndarray:
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (size,):
        raise ValueError(
            f"Sample weights: expected one for each of {size} samples, got shape {values.shape}."
        )
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise ValueError(
            "Sample weights: expected finite numbers of at least 0, not all 0, got "
            f"{values.min()} to {values.max()}."
        )
    return values


def balance_weights(class_lists: Sequence[Iterable[int]], thresh: float = 0.1) -> np.ndarray:
    """Repeat factors of images, so that rare classes are met more often.

    LVIS (Gupta et al., CVPR 2019, appendix B.2): with f_c the share of the images that hold class
    c, r_c = max(1, sqrt(thresh / f_c)), and an image repeats as its rarest class does. The
    default of `thresh` is ours; LVIS, with 1203 classes, takes 0.001.

    Args:
        class_lists: per image the ids of its classes, for example those a pseudo-label accepted.
        thresh: share of the images in (0, 1] below which a class is rare.

    Returns:
        (images,) float64 of at least 1; 1 for images without classes.

    Raises:
        ValueError: if `thresh` is out of its range.
    """
    if not 0.0 < thresh <= 1.0:
        raise ValueError(f"Class balance: expected a threshold in (0, 1], got {thresh}.")
    held = [set(classes) for classes in class_lists]
    counts = Counter(c for classes in held for c in classes)
    factor = {c: max(1.0, math.sqrt(thresh * len(held) / n)) for c, n in counts.items()}
    return np.array([max((factor[c] for c in classes), default=1.0) for classes in held])


class SeededDataset(Dataset[Any]):
    """Maps (position, index) to a mapped sample whose randomness depends on the position only."""

    def __init__(self, records: Sequence[Any], mapper: Callable[[Any], Any], seed: int) -> None:
        """Args: records: samples; mapper: applied to each; seed: of the augmentations."""
        self.records, self.mapper, self.seed = records, mapper, seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        position, index = key
        with seeded(self.seed, position):
            return self.mapper(self.records[index])


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch (CPU); restore them afterwards.

    Args:
        entropy: non-negative numbers that together decide the state.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    states = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(states[0]))
    np.random.seed(states[1])
    # The generator itself: torch.manual_seed would also touch accelerators, from a worker.
    torch.default_generator.manual_seed(int(states[2]))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
