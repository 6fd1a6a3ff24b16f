"""Data sets of Detectron2's catalogue as targets of verification."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from stseg.config import is_folder
from stseg.data import (
    PLAIN_NAMES,
    SPECS,
    VARIANTS,
    DatasetSpec,
    data_root,
    dataset_ignore_labels,
    dataset_layout,
    dataset_vocabulary,
)
from stseg.structures import IGNORE_LABEL
from stseg.tools.verification.data_set import Listed, Pair, Target
from stseg.tools.verification.finding import Finding
from stseg.tools.verification.pairing import left_out, list_folder, wrong_suffixes


def find_registered(name: str) -> Listed:
    """What a registered data set ought to be, and its files as training sees them.

    Where the loader refuses the folder, the files are paired here, and every defect is a finding.

    Args:
        name: in DatasetCatalog.
    """
    try:
        records, refusal = DatasetCatalog.get(name), ""
    except FileNotFoundError as error:
        return Listed(_target(name), absent=str(error), is_prepared=not _has_images(name))
    except ValueError as error:
        records, refusal = [], str(error)
    target = _target(name)
    if refusal:
        return _refused(target, refusal)
    pairs = tuple(
        Pair(record["file_name"], record.get("sem_seg_file_name", "")) for record in records
    )
    if target.coding is None:
        return Listed(target, pairs, tuple(wrong_suffixes(target)))
    return Listed(target, pairs, (*wrong_suffixes(target), *left_out(target, pairs)))


def _refused(target: Target, refusal: str) -> Listed:
    """Pair what the loader does not: it stops at the first defect."""
    finding = Finding("refused", refusal)
    if target.image_dir is None or not is_folder(target.image_dir):
        return Listed(target, findings=(finding,))
    listed = list_folder(target)
    # Whatever this pairing does not see either, the loader's own words must not be lost.
    return listed if listed.findings else Listed(target, findings=(finding,))


def _target(name: str) -> Target:
    metadata, spec = MetadataCatalog.get(name), _spec(name)
    # Where the files of a benchmark lie: this project's folders or a peer's.
    layout = None if spec is None else dataset_layout(spec)
    label_dir = _folder(metadata, "sem_seg_root")
    coding = getattr(metadata, "label_coding", None)
    naming = getattr(metadata, "naming", PLAIN_NAMES) if layout is None else layout.naming
    is_plain = coding is None or coding.is_plain
    names = tuple(getattr(metadata, "stuff_classes", None) or dataset_vocabulary(name).names)
    ids = getattr(metadata, "label_ids", None)
    script = getattr(spec, "prepared_by", "")
    command = f"stseg data prepare {script} --root {data_root()} --force"
    return Target(
        name=name,
        names=names if ids is None else _file_names(spec, names, ids),
        ignore=dataset_ignore_labels(name) if is_plain else (IGNORE_LABEL,),
        image_dir=_folder(metadata, "image_root"),
        label_dir=label_dir,
        naming=naming,
        listed=getattr(metadata, "image_list", None),
        coding=coding,
        cure=f"Prepare them anew: {command}" if script else "",
        withheld=_withheld(getattr(metadata, "withheld_by", ""), ids),
    )


def _file_names(
    spec: DatasetSpec | None, names: Sequence[str], ids: Sequence[int]
) -> tuple[str, ...]:
    """Names of the ids in the files, which stand for other class ids."""
    if spec is not None and spec.seen_only:
        return tuple(spec.label_names)
    return tuple(names[i] if i != IGNORE_LABEL else f"id {k}" for k, i in enumerate(ids))


def _withheld(split: str, ids: Sequence[int] | None) -> tuple[int, ...]:
    """Ids of unseen classes that the label maps of a zero-shot training split must not hold.

    Maps of all classes, which were written for none, serve such a split, too; what they hold of
    unseen classes is ignored.
    """
    if ids is None or not split:
        return ()
    return tuple(k for k, i in enumerate(ids) if i == IGNORE_LABEL)


def _folder(metadata: Any, key: str) -> Path | None:
    value = getattr(metadata, key, "")
    return Path(value) if value else None


def _spec(name: str) -> DatasetSpec | None:
    return next((spec for spec in (*SPECS, *VARIANTS) if spec.name == name), None)


def _has_images(name: str) -> bool:
    spec = _spec(name)
    return spec is not None and bool(spec.label_dir) and (data_root() / spec.image_dir).is_dir()
