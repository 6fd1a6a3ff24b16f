"""The training stream: an endless, seeded sequence that can be entered anywhere.

Position p of the stream always names the same sample with the same augmentation, whatever the
number of processes and workers and wherever training was resumed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler


class PositionSampler(Sampler[tuple[int, int]]):
    """Yields (position in the stream, index of the sample) for one process, without end.

    The stream is one random order of the data set after another. Process r of R takes the
    positions r, r + R, r + 2 R, ..., so that all processes together take one contiguous block of
    positions per step, which one process with the total batch size would take as well.
    """

    def __init__(
        self, size: int, seed: int, *, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        """Describe the stream.

        Args:
            size: number of samples.
            seed: of the orders; the same in all processes.
            start: positions that all processes together have consumed already.
            rank: of this process, in [0, world_size).
            world_size: number of processes.
        """
        if size < 1:
            raise ValueError(f"Training data: expected at least one sample, got {size}.")
        self.size, self.seed, self.start = size, seed, start
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.start + self.rank
        epoch, order = -1, np.empty(0, dtype=np.int64)
        while True:
            if position // self.size != epoch:
                epoch = position // self.size
                # Every order has a seed of its own: entering late need not draw earlier ones.
                order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
            yield position, int(order[position % self.size])
            position += self.world_size


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
