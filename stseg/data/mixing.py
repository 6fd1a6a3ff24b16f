"""Labelled source images beside unlabelled target ones, in fixed shares of every batch.

Source labels are translated to the target's vocabulary, see `stseg.data.datasets.class_matching`,
so that all items of a batch carry one vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stseg.data.datasets.class_matching import label_translation
from stseg.data.sampling import PositionSampler, StreamSampler

__all__ = ["DOMAIN_KEY", "MapperByDomain", "MixedSampler", "label_translation", "source_share"]

#: Key of a record, and of the item made of it: name of the source data set; absent in target ones.
DOMAIN_KEY = "domain"


def source_share(batch_size: int, fraction: float) -> int:
    """Source images per batch: the whole number next to `fraction` of `batch_size`.

    Args:
        batch_size: images per step over all processes.
        fraction: in (0, 1).

    Raises:
        ValueError: if that leaves no room for source or for target images.
    """
    count = round(batch_size * fraction)
    if not 0 < count < batch_size:
        raise ValueError(
            "SELF_TRAINING.SOURCE.FRACTION: expected a share that gives every batch at least one "
            f"source and one target image, got {fraction} of {batch_size}. Change it or "
            "SOLVER.IMS_PER_BATCH."
        )
    return count


class MixedSampler(StreamSampler):
    """Yields (position, index) like PositionSampler, with source samples first in every batch.

    Indices below `target.size` are target samples, the rest source samples. Both streams run on
    by themselves: each visits its samples as if the other were not there.
    """

    def __init__(
        self,
        target: PositionSampler,
        source: PositionSampler,
        *,
        batch_size: int,
        source_per_batch: int,
        **place: int,
    ) -> None:
        """Describe the stream.

        Args:
            target: order of the target samples; its own start and rank are not used.
            source: the same for the source samples; give it another seed.
            batch_size: samples per step over all processes.
            source_per_batch: how many of them are source samples.
            **place: `start`, `rank` and `world_size` of `StreamSampler`.
        """
        super().__init__(**place)
        self.target, self.source = target, source
        self.batch_size, self.source_per_batch = batch_size, source_per_batch

    def index_at(self, position: int) -> int:
        """Index of the sample at any position, counted from 0 over all processes."""
        batch, place = divmod(position, self.batch_size)
        if place < self.source_per_batch:
            nth = batch * self.source_per_batch + place
            return self.target.size + self.source.index_at(nth)
        targets = self.batch_size - self.source_per_batch
        return self.target.index_at(batch * targets + place - self.source_per_batch)


class MapperByDomain:
    """Maps a record by the mapper of its data set."""

    def __init__(
        self,
        target: Callable[[dict[str, Any]], dict[str, Any]],
        sources: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]],
    ) -> None:
        """Args: target: for records without DOMAIN_KEY; sources: by the value of that key."""
        self.target, self.sources = target, dict(sources)

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Turn a record into a model input; the key is handed on."""
        domain = record.get(DOMAIN_KEY)
        return (self.target if domain is None else self.sources[domain])(record)
