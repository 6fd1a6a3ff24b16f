"""Loaders over a plain list of records, without a registered data set's labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.data.common import MapDataset
from torch.utils.data import DataLoader

from stseg.data.loaders import build_mapper
from stseg.structures import Vocabulary


def build_record_loader(
    cfg: Any, records: Sequence[dict[str, Any]], dataset_name: str, vocabulary: Vocabulary
) -> DataLoader:
    """Visit images once, in order, as in testing; every process visits all it is given.

    Args:
        cfg: reads the test-time INPUT.* and DATALOADER.NUM_WORKERS.
        records: with "file_name".
        dataset_name: registered name that a mapper of one's own may ask for metadata.
        vocabulary: handed on in every input.

    Returns:
        Loader of lists with one model input each.
    """
    mapper = build_mapper(cfg, False, [dataset_name], vocabulary=vocabulary)
    return DataLoader(
        MapDataset(list(records), mapper),
        batch_size=1,
        num_workers=min(cfg.DATALOADER.NUM_WORKERS, len(records)),
        collate_fn=list,
        # Own generator: building a loader must not move the global one.
        generator=torch.Generator(),
    )
