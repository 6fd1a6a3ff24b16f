"""Loaders for training and testing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.common import DatasetFromList, MapDataset
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import BatchSampler, DataLoader

from stseg.config import check
from stseg.data.broken_pairs import CountingLoader, ReplacingDataset
from stseg.data.caption_mapper import STSegCaptionMapper as _  # noqa: F401  only registration
from stseg.data.datasets import (
    check_registered,
    dataset_label_coding,
    dataset_vocabulary,
    has_captions,
)
from stseg.data.label_coding import LabelCoding
from stseg.data.label_doubts import doubts_about
from stseg.data.mappers import CODING_KEY, MAPPER_REGISTRY
from stseg.data.mixing import (
    DOMAIN_KEY,
    MapperByDomain,
    MixedSampler,
    label_translation,
    source_share,
)
from stseg.data.readers.pair_index import PairIndex
from stseg.data.sampling import PositionSampler, SeededDataset
from stseg.render import label_encoding
from stseg.structures import IGNORE_LABEL, Vocabulary
from stseg.utils import registered

logger = logging.getLogger(__name__)

Mapper = Callable[[dict[str, Any]], dict[str, Any]]

_SOURCE_KEY = "SELF_TRAINING.SOURCE.DATASETS"


def build_mapper(cfg: Any, is_train: bool, dataset_names: list[str], **overrides: Any) -> Mapper:
    """Mapper for data sets that share one vocabulary, or for captions.

    Args:
        cfg: reads INPUT.*.
        is_train: with labels and random augmentations.
        dataset_names: registered names.
        overrides: arguments of the mapper that replace those of `cfg` and the data sets.
    """
    of_captions = has_captions(dataset_names[0])
    key = "CAPTION_MAPPER_NAME" if of_captions else "MAPPER_NAME"
    mapper = registered(MAPPER_REGISTRY, cfg.INPUT[key], f"INPUT.{key}")
    return mapper(cfg, is_train, dataset_names, **overrides)


def build_train_loader(cfg: Any, start_iter: int = 0) -> DataLoader:
    """Endless loader over DATASETS.TRAIN.

    Batch i holds the positions i B .. (i + 1) B - 1 of a stream that SEED decides, B =
    SOLVER.IMS_PER_BATCH over all processes; order and augmentations do not depend on the number
    of processes or workers. With SEED below 0 each run draws another stream. Images are not
    grouped by aspect ratio and none is left out: all crops have one size. Pairs of image and
    caption that are broken are replaced and counted, see `stseg.data.broken_pairs`.

    Args:
        cfg: reads DATASETS.{TRAIN,MAX_IMAGES,MAX_BROKEN}, INPUT.*, SEED, SOLVER.IMS_PER_BATCH,
            DATALOADER.NUM_WORKERS.
        start_iter: batches taken before; a resumed run continues the stream exactly.

    Returns:
        Loader of lists of model inputs, B / number of processes each.

    Raises:
        ValueError: names the key if no data set is given, one is unknown, has unlabelled images
            or is for evaluation only, the vocabularies differ, captions and labels are mixed, or
            the batch cannot be shared out. In the loader, if too many pairs are broken.
        FileNotFoundError: if data are missing.
    """
    names = _train_names(cfg)
    check("DATALOADER.SAMPLER_TRAIN", cfg.DATALOADER.SAMPLER_TRAIN)
    of_captions = has_captions(names[0])
    records = first_images(cfg, _all_pairs(names) if of_captions else _records_to_train(names))
    share, seed = _stream_share(cfg, start_iter), _stream_seed(cfg)
    sampler = PositionSampler(len(records), seed, **share)
    if of_captions:
        pairs = ReplacingDataset(records, build_mapper(cfg, True, names), seed)
        return CountingLoader(pairs, cfg.DATASETS.MAX_BROKEN, **_loading(cfg, sampler))
    if CODING_KEY in records[0]:  # each record says what its label map means
        names = names[:1]
    return _train_loader(cfg, records, build_mapper(cfg, True, names), sampler, seed)


def build_self_training_loader(
    cfg: Any,
    start_iter: int,
    records: Sequence[dict[str, Any]],
    dataset_name: str,
    vocabulary: Vocabulary,
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    source_names: Sequence[str] = (),
    source_fraction: float = 0.0,
    online: bool = False,
) -> DataLoader:
    """Endless loader over target images with pseudo-labels; resumable like `build_train_loader`.

    Args:
        cfg: as for `build_train_loader`, except DATASETS.TRAIN and DATALOADER.SAMPLER_TRAIN.
        start_iter: batches taken before, over all rounds.
        records: target images, "file_name" and "sem_seg_file_name", a label PNG as
            `stseg.render.label_files.encode_labels` writes it. With `online` the latter may be
            missing.
        dataset_name: the registered target, which a mapper of one's own may ask for metadata.
        vocabulary: of the target with seen marks; every item carries it.
        weights: how often each record is wanted, see `PositionSampler`.
        source_names: registered, labelled data sets to mix in; their classes are translated.
        source_fraction: their part of every batch, in (0, 1); not read without `source_names`.
        online: items hold "weak_image" and "inside" for a teacher, see `STSegSemanticMapper`.

    Returns:
        Loader of lists of model inputs; source items hold "domain", the name of their data set.

    Raises:
        ValueError: if there are no records, the weights do not fit, a source is not fit for
            training or shares no class with the target, or the batch cannot be shared out.
        FileNotFoundError: if source data are missing.
    """
    share, seed = _stream_share(cfg, start_iter), _stream_seed(cfg)
    options: dict[str, Any] = {"vocabulary": vocabulary, "weak_view": online}
    ignored = (label_encoding(len(vocabulary))[1],)
    # Pseudo-labels are written in class ids, whatever the files of the data set hold.
    options_of_target = options | {"label_coding": LabelCoding(len(vocabulary), ignored)}
    mapper = build_mapper(cfg, True, [dataset_name], allow_unlabelled=online, **options_of_target)
    sampler = PositionSampler(len(records), seed, weights=weights, **share)
    if not source_names:
        return _train_loader(cfg, list(records), mapper, sampler, seed)
    total = cfg.SOLVER.IMS_PER_BATCH
    sources = [r | {DOMAIN_KEY: name} for name in source_names for r in _source_records(name)]
    mappers = {
        name: build_mapper(cfg, True, [name], translation=_translation(name, vocabulary), **options)
        for name in source_names
    }
    # Of another seed, or sets of one size would be met in one order.
    source_seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
    mixed = MixedSampler(
        sampler,
        PositionSampler(len(sources), source_seed),
        batch_size=total,
        source_per_batch=source_share(total, source_fraction),
        **share,
    )
    both = [*records, *sources]
    return _train_loader(cfg, both, MapperByDomain(mapper, mappers), mixed, seed)


def check_sources(cfg: Any, vocabulary: Vocabulary) -> None:
    """Refuse source sets that `build_self_training_loader` would, before anything is labelled.

    Raises:
        ValueError: names the key.
    """
    source = cfg.SELF_TRAINING.SOURCE
    for name in source.DATASETS:
        check_registered(name, _SOURCE_KEY)
    if source.FRACTION <= 0:
        return
    if not source.DATASETS:
        raise ValueError(
            f"{_SOURCE_KEY}: expected at least one data set to fill SELF_TRAINING.SOURCE.FRACTION "
            f"{source.FRACTION:g} of every batch, got none. Name one, or set the fraction to 0."
        )
    source_share(cfg.SOLVER.IMS_PER_BATCH, source.FRACTION)
    for name in source.DATASETS:
        _refuse_evaluation_only(name, _SOURCE_KEY)
        _translation(name, vocabulary)


def _source_records(name: str) -> list[dict[str, Any]]:
    check_registered(name, _SOURCE_KEY)
    _refuse_evaluation_only(name, _SOURCE_KEY)
    records = DatasetCatalog.get(name)
    check_labels(name, records)
    return records


def _all_pairs(names: Sequence[str]) -> PairIndex:
    return PairIndex.joined([DatasetCatalog.get(name) for name in names])


def _records_to_train(names: Sequence[str]) -> list[dict[str, Any]]:
    """Records of all data sets, each with its coding where the data sets differ in it."""
    listed = {name: DatasetCatalog.get(name) for name in names}
    for name, records in listed.items():
        check_labels(name, records)
    codings = {name: dataset_label_coding(name) for name in names}
    if len(set(codings.values())) == 1:
        return [record for name in names for record in listed[name]]
    return [record | {CODING_KEY: codings[name]} for name in names for record in listed[name]]


def check_labels(name: str, records: Sequence[dict[str, Any]]) -> None:
    """Refuse label maps of one's own whose ignored value seems to be a class.

    Warns where one class is all they hold.

    Args:
        name: of the data set; benchmarks and drawn label maps are not looked at.
        records: its images.

    Raises:
        ValueError: says what to do; or if a label map holds what has no meaning.
        OSError: if one cannot be decoded.
    """
    files = tuple(r["sem_seg_file_name"] for r in records if r.get("sem_seg_file_name"))
    coding = getattr(MetadataCatalog.get(name), "label_coding", None)
    if not files or coding is None:
        return
    doubts = doubts_about(files, coding, dataset_vocabulary(name).names)
    doubts.check(f"Data set {name}")
    if doubts.is_one_class:
        logger.warning("Data set %s: %s.", name, doubts.lacking)


def _translation(name: str, vocabulary: Vocabulary) -> np.ndarray:
    """See `label_translation`; refuses a source that would teach nothing."""
    translation = label_translation(dataset_vocabulary(name), vocabulary)
    if (translation == IGNORE_LABEL).all():
        raise ValueError(
            f"{_SOURCE_KEY}: expected data sets with a class of the target vocabulary, got {name}, "
            "which shares no name with it. Remove it, or add its names as synonyms."
        )
    return translation


def _stream_seed(cfg: Any) -> int:
    return cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()


def _stream_share(cfg: Any, start_iter: int) -> dict[str, Any]:
    """Start of the stream in positions, and this process's place in it."""
    world_size = comm.get_world_size()
    total = cfg.SOLVER.IMS_PER_BATCH
    if total < 1 or total % world_size:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH: expected a positive multiple of the {world_size} processes, "
            f"got {total}."
        )
    return {"start": start_iter * total, "rank": comm.get_rank(), "world_size": world_size}


def _train_loader(
    cfg: Any, records: list[dict[str, Any]], mapper: Mapper, sampler: Any, seed: int
) -> DataLoader:
    """Loader of this process's part of every batch."""
    dataset = SeededDataset(DatasetFromList(records, copy=False), mapper, seed)
    return DataLoader(dataset, **_loading(cfg, sampler))


def _loading(cfg: Any, sampler: Any) -> dict[str, Any]:
    """How a training loader loads.

    The sampler is Any: torch's annotations want int keys, its code takes what the data set
    understands.
    """
    size = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
    return {
        "batch_sampler": BatchSampler(sampler, size, drop_last=True),
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "collate_fn": list,  # images differ in size
        # Own generator: building a loader must not move the global one, or a resumed run would
        # draw other dropout masks than an uninterrupted one.
        "generator": torch.Generator(),
    }


def build_test_loader(cfg: Any, dataset_name: str) -> DataLoader:
    """Loader that visits every image of a data set once, shared out over the processes.

    Args:
        cfg: reads INPUT.*, DATASETS.MAX_IMAGES, DATALOADER.{NUM_WORKERS,TEST_BATCH_SIZE}.
        dataset_name: a registered name.

    Raises:
        ValueError: if the name is unknown.
        FileNotFoundError: if data are missing.
    """
    check_registered(dataset_name, "DATASETS.TEST")
    check("DATALOADER.TEST_BATCH_SIZE", cfg.DATALOADER.TEST_BATCH_SIZE)
    records = first_images(cfg, DatasetCatalog.get(dataset_name))
    check_labels(dataset_name, records)
    mapper = build_mapper(cfg, False, [dataset_name])
    return DataLoader(
        MapDataset(DatasetFromList(records, copy=False), mapper),
        batch_size=cfg.DATALOADER.TEST_BATCH_SIZE,
        sampler=InferenceSampler(len(records)),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=list,
        generator=torch.Generator(),
    )


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
        generator=torch.Generator(),
    )


def first_images(cfg: Any, records: Any) -> Any:
    """The records of a run: all of them, or the first DATASETS.MAX_IMAGES."""
    return records[: cfg.DATASETS.MAX_IMAGES or None]


def _train_names(cfg: Any) -> list[str]:
    """Names in DATASETS.TRAIN, checked to be fit for training together."""
    names = list(cfg.DATASETS.TRAIN)
    if not names:
        raise ValueError("DATASETS.TRAIN: expected at least one data set, got none.")
    for name in names:
        check_registered(name, "DATASETS.TRAIN")
    kinds = {name: "captions" if has_captions(name) else "classes" for name in names}
    if len(set(kinds.values())) > 1:
        raise ValueError(
            "DATASETS.TRAIN: expected data sets that all have classes, or all captions, got "
            f"{', '.join(f'{name} ({kind})' for name, kind in kinds.items())}. Train on one kind."
        )
    for name in () if has_captions(names[0]) else names:
        _refuse_evaluation_only(name, "DATASETS.TRAIN")
        vocabulary, first = dataset_vocabulary(name), dataset_vocabulary(names[0])
        if vocabulary.synonyms != first.synonyms:
            raise ValueError(
                f"DATASETS.TRAIN: expected data sets with one vocabulary, got {names[0]} "
                f"({len(first)} classes) and {name} ({len(vocabulary)} classes, other names or "
                "order). Train on one, or map the labels of one to the names of the other."
            )
    return names


def _refuse_evaluation_only(name: str, key: str) -> None:
    vocabulary, metadata = dataset_vocabulary(name), MetadataCatalog.get(name)
    if len(getattr(metadata, "stuff_classes", vocabulary.names)) != len(vocabulary):
        raise ValueError(
            f"{key}: expected label ids that are vocabulary ids, got {name}, whose "
            "background id is not. It is for evaluation only."
        )
