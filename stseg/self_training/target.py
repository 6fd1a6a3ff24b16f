"""What self-training works on: the images without labels, their names, and what is left out."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from stseg.checkpoint import WeightFacts, read_checkpoint, weights_file
from stseg.config import IMAGES_NAME
from stseg.data import (
    Skipped,
    check_registered,
    check_sources,
    dataset_vocabulary,
    first_images,
    register_images,
)
from stseg.self_training.corrections import Correction
from stseg.self_training.seen import mark_seen, seen_record, seen_table
from stseg.self_training.veto import Veto
from stseg.structures import Vocabulary, VocabularyLike
from stseg.utils import phase, some_of

logger = logging.getLogger(__name__)


#: Least images, as a multiple of the guard's, of which some are held out from training for it.
_ENOUGH = 5


@dataclass(frozen=True)
class Target:
    """Images to adapt to.

    Attributes:
        name: of the registered data set; of the first one where there are several.
        records: {"file_name": path} of the images to train on, without the vetoed ones.
        vocabulary: the target names, with seen marks.
        vetoed: ids of classes that never become pseudo-labels.
        seen: what of the names stage 1 had, see `seen_record`; a run keeps it as ``seen.json``.
        corrections: regions whose class a person gives, in every round.
        veto_text: the veto file, for the page to go on from.
        guard: records of the images by which rounds are judged; () takes some that are trained on.
    """

    name: str
    records: tuple[dict[str, Any], ...]
    vocabulary: Vocabulary
    vetoed: frozenset[int] = frozenset()
    seen: Mapping[str, Any] | None = None
    corrections: tuple[Correction, ...] = ()
    veto_text: str = ""
    guard: tuple[dict[str, Any], ...] = ()

    def judged(self, count: int) -> tuple[dict[str, Any], ...]:
        """The guard's images, or `count` of those that are trained on."""
        if self.guard:
            return self.guard
        return tuple(self.records[k] for k in drawn(count, len(self.records), seed=0))


def drawn(count: int, size: int, seed: int) -> list[int]:
    """`count` of `size` indices, drawn by a seed and rising; all where there are fewer.

    Not every n-th: images in the order of a video or of a data set's scenes come in beats.
    """
    order = np.random.default_rng(seed).permutation(size)
    return sorted(order[:count].tolist())


def hold_out(
    records: Sequence[dict[str, Any]], count: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Images to train on, and those to judge by.

    Where there are many these are never trained on, so that what was learnt by heart is not taken
    for a gain; where there are fewer than five times as many, they are.
    """
    chosen = set(drawn(count, len(records), seed))
    judged = [record for k, record in enumerate(records) if k in chosen]
    if len(records) < _ENOUGH * count:
        return list(records), judged
    return [record for k, record in enumerate(records) if k not in chosen], judged


@phase("list images")
def load_target(cfg: CfgNode) -> Target:
    """Find images and names of a run; labels of the target are not even looked at.

    Rank 0 logs what was left out, and the table of seen and unseen classes.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if no image is left, or the veto file names what is not there, or regions
            where labels are made of crops, or a source set is not fit for mixing in.
    """
    st = cfg.SELF_TRAINING
    names = cfg.DATASETS.TRAIN
    for name in names:
        check_registered(name, "DATASETS.TRAIN")
    vocabulary = target_vocabulary(cfg)
    check_sources(cfg, vocabulary)
    records = [{"file_name": r["file_name"]} for name in names for r in DatasetCatalog.get(name)]
    files = [record["file_name"] for record in records]
    veto = Veto.read(st.VETO_FILE, vocabulary.names, files) if st.VETO_FILE else Veto()
    if veto.corrections and st.ONLINE:
        raise ValueError(
            "SELF_TRAINING.VETO_FILE: expected no regions with SELF_TRAINING.ONLINE, which labels "
            f"crops, got {len(veto.corrections)} in {st.VETO_FILE}. Take them out of it, or set "
            "ONLINE False."
        )
    records = first_images(cfg, records)
    # Before the veto: a run that is resumed with another one is judged by the same images.
    judged: list[dict[str, Any]] = []
    kept = records
    if st.GUARD.ENABLED and st.ROUNDS > 0:
        kept, judged = hold_out(records, st.GUARD.IMAGES, max(cfg.SEED, 0))
    kept, judged = (
        [r for r in part if os.path.basename(r["file_name"]) not in veto.images]
        for part in (kept, judged)
    )
    if not kept:
        raise ValueError(
            f"SELF_TRAINING.VETO_FILE: expected at least one image to be left, got all "
            f"{len(records)} vetoed in {st.VETO_FILE}. Take lines out of it."
        )
    record = seen_record(vocabulary, st.ALPHA, _stage_1_names(cfg))
    if comm.is_main_process():
        logger.info(
            "Self-training on %d images (%d vetoed; %d more are held out to judge by), %d classes "
            "(%d vetoed), of which stage 1 has seen %d.%s Unseen: %s",
            len(kept),
            len(veto.images),
            len({r["file_name"] for r in judged} - {r["file_name"] for r in kept}),
            len(vocabulary),
            len(veto.class_ids),
            record["seen"],
            f" Regions by hand: {len(veto.corrections)}." if veto.corrections else "",
            some_of([c["name"] for c in record["classes"] if not c["seen"]]) or "none",
        )
        logger.debug("Their weights in eq. 6:\n%s", seen_table(record))
    return Target(
        names[0],
        tuple(kept),
        vocabulary,
        veto.class_ids,
        record,
        corrections=veto.corrections,
        veto_text=veto.text,
        guard=tuple(judged),
    )


def register_target(cfg: CfgNode) -> Skipped:
    """Register the folder SELF_TRAINING.IMAGES under IMAGES_NAME, if one is given.

    Returns:
        Files left out, as (path, reason).

    Raises:
        FileNotFoundError: if the folder or the names file is missing.
        ValueError: if there is no readable image, or the names are missing or faulty.
    """
    st = cfg.SELF_TRAINING
    if not st.IMAGES:
        return []
    if not st.VOCABULARY:
        raise ValueError(
            "SELF_TRAINING.VOCABULARY: expected a names file (.txt, .json) or names such as "
            "'cat; dog' for the images, got none. Give --vocabulary."
        )
    return register_images(IMAGES_NAME, st.IMAGES, st.VOCABULARY)


def target_vocabulary(cfg: CfgNode) -> Vocabulary:
    """The names to look for, marked as seen or unseen in stage 1."""
    return mark_seen(dataset_vocabulary(cfg.DATASETS.TRAIN[0]), _stage_1_names(cfg))


def _stage_1_names(cfg: CfgNode) -> VocabularyLike | None:
    """By the key; else, where the names have no marks of their own, by the weights."""
    name = cfg.SELF_TRAINING.SOURCE_VOCABULARY
    if name or dataset_vocabulary(cfg.DATASETS.TRAIN[0]).seen is not None:
        return source_vocabulary(name)
    path = weights_file(cfg.MODEL.WEIGHTS)
    learnt = WeightFacts.of(read_checkpoint(path, "MODEL.WEIGHTS")).trained_on if path else ()
    return Vocabulary.from_names(learnt, allow_shared_names=True) if learnt else None


def source_vocabulary(name: str) -> VocabularyLike | None:
    """What SELF_TRAINING.SOURCE_VOCABULARY names: a data set, a list or a file; None for ""."""
    if not name:
        return None
    if name in DatasetCatalog:
        return dataset_vocabulary(name)
    if name.startswith("vocab:"):
        return name
    if not Path(name).suffix:
        raise ValueError(
            "SELF_TRAINING.SOURCE_VOCABULARY: expected a registered data set, a list that ships "
            f"(vocab:...) or a names file (.txt, .json), got {name!r}."
        )
    return Path(name)
