"""Loaders for training and testing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.common import DatasetFromList, MapDataset
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import BatchSampler, DataLoader

from stseg.data.datasets import check_registered, dataset_vocabulary
from stseg.data.mappers import MAPPER_REGISTRY
from stseg.data.sampling import PositionSampler, SeededDataset

Mapper = Callable[[dict[str, Any]], dict[str, Any]]


def build_mapper(cfg: Any, is_train: bool, dataset_names: list[str]) -> Mapper:
    """Mapper INPUT.MAPPER_NAME for data sets that share one vocabulary."""
    if cfg.INPUT.MAPPER_NAME not in MAPPER_REGISTRY:
        known = ", ".join(name for name, _ in MAPPER_REGISTRY)
        raise ValueError(
            f"INPUT.MAPPER_NAME: expected one of {known}, got {cfg.INPUT.MAPPER_NAME!r}."
        )
    return MAPPER_REGISTRY.get(cfg.INPUT.MAPPER_NAME)(cfg, is_train, dataset_names)


def build_train_loader(cfg: Any, start_iter: int = 0) -> DataLoader:
    """Endless loader over DATASETS.TRAIN.

    Batch i holds the positions i B .. (i + 1) B - 1 of a stream that SEED decides, B =
    SOLVER.IMS_PER_BATCH over all processes; order and augmentations do not depend on the number
    of processes or workers. With SEED below 0 each run draws another stream. Images are not
    grouped by aspect ratio and none is left out: all crops have one size.

    Args:
        cfg: reads DATASETS.TRAIN, INPUT.*, SEED, SOLVER.IMS_PER_BATCH, DATALOADER.NUM_WORKERS.
        start_iter: batches taken before; a resumed run continues the stream exactly.

    Returns:
        Loader of lists of model inputs, B / number of processes each.

    Raises:
        ValueError: names the key if no data set is given, one is unknown, has unlabelled images
            or is for evaluation only, the vocabularies differ, or the batch cannot be shared out.
        FileNotFoundError: if data are missing.
    """
    names = _train_names(cfg)
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        raise ValueError(
            "DATALOADER.SAMPLER_TRAIN: expected 'TrainingSampler' (each image once per epoch), got "
            f"{cfg.DATALOADER.SAMPLER_TRAIN!r}."
        )
    records = [record for name in names for record in DatasetCatalog.get(name)]
    world_size = comm.get_world_size()
    total = cfg.SOLVER.IMS_PER_BATCH
    if total < 1 or total % world_size:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH: expected a positive multiple of the {world_size} processes, "
            f"got {total}."
        )
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    # Any: torch's annotations want int keys, its code takes what the data set understands.
    sampler: Any = PositionSampler(
        len(records),
        seed,
        start=start_iter * total,
        rank=comm.get_rank(),
        world_size=world_size,
    )
    dataset = SeededDataset(
        DatasetFromList(records, copy=False), build_mapper(cfg, True, names), seed
    )
    return DataLoader(
        dataset,
        batch_sampler=BatchSampler(sampler, total // world_size, drop_last=True),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
        # Own generator: building a loader must not move the global one, or a resumed run would
        # draw other dropout masks than an uninterrupted one.
        generator=torch.Generator(),
    )


def build_test_loader(cfg: Any, dataset_name: str) -> DataLoader:
    """Loader that visits every image of a data set once, shared out over the processes.

    Args:
        cfg: reads INPUT.*, DATALOADER.NUM_WORKERS and DATALOADER.TEST_BATCH_SIZE.
        dataset_name: a registered name.

    Raises:
        ValueError: if the name is unknown.
        FileNotFoundError: if data are missing.
    """
    check_registered(dataset_name, "DATASETS.TEST")
    if cfg.DATALOADER.TEST_BATCH_SIZE < 1:
        raise ValueError(
            "DATALOADER.TEST_BATCH_SIZE: expected at least 1 image, got "
            f"{cfg.DATALOADER.TEST_BATCH_SIZE}."
        )
    records = DatasetCatalog.get(dataset_name)
    dataset = MapDataset(
        DatasetFromList(records, copy=False), build_mapper(cfg, False, [dataset_name])
    )
    return DataLoader(
        dataset,
        batch_size=cfg.DATALOADER.TEST_BATCH_SIZE,
        sampler=InferenceSampler(len(records)),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
        generator=torch.Generator(),
    )


def _as_list(batch: list[Any]) -> list[Any]:
    """Leave a batch a list: images differ in size."""
    return batch


def _train_names(cfg: Any) -> list[str]:
    """Names in DATASETS.TRAIN, checked to be fit for training together."""
    names = list(cfg.DATASETS.TRAIN)
    if not names:
        raise ValueError("DATASETS.TRAIN: expected at least one data set, got none.")
    for name in names:
        check_registered(name, "DATASETS.TRAIN")
        vocabulary, metadata = dataset_vocabulary(name), MetadataCatalog.get(name)
        if len(getattr(metadata, "stuff_classes", vocabulary.names)) != len(vocabulary):
            raise ValueError(
                f"DATASETS.TRAIN: expected label ids that are vocabulary ids, got {name}, whose "
                "background id is not. It is for evaluation only."
            )
        first = dataset_vocabulary(names[0])
        if vocabulary.synonyms != first.synonyms:
            raise ValueError(
                f"DATASETS.TRAIN: expected data sets with one vocabulary, got {names[0]} "
                f"({len(first)} classes) and {name} ({len(vocabulary)} classes, other names or "
                "order). Train on one, or map the labels of one to the names of the other."
            )
    return names
