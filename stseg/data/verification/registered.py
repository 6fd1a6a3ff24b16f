"""Data sets of Detectron2's catalogue as targets of verification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from stseg.data.datasets import SPECS, data_root, dataset_ignore_labels, dataset_vocabulary
from stseg.data.verification.finding import Finding
from stseg.data.verification.pairing import list_folder, wrong_suffixes
from stseg.data.verification.target import Listed, Pair, Target

_BASE = "_base_"


def known_names() -> list[str]:
    """Names of every data set that this project registered, or that has its metadata."""
    return [n for n in DatasetCatalog.list() if hasattr(MetadataCatalog.get(n), "vocabulary")]


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
    return Listed(target, pairs, tuple(wrong_suffixes(target)))


def _refused(target: Target, refusal: str) -> Listed:
    """Pair what the loader does not: it stops at the first defect."""
    finding = Finding("refused", refusal)
    if target.image_dir is None or not target.image_dir.is_dir():
        return Listed(target, findings=(finding,))
    listed = list_folder(target)
    # Whatever this pairing does not see either, the loader's own words must not be lost.
    return listed if listed.findings else Listed(target, findings=(finding,))


def _target(name: str) -> Target:
    metadata = MetadataCatalog.get(name)
    spec = _spec(name)
    names = tuple(getattr(metadata, "stuff_classes", None) or dataset_vocabulary(name).names)
    script = getattr(spec, "prepare_script", "")
    command = f"python datasets/prepare_scripts/{script} --root {data_root()} --force"
    return Target(
        name=name,
        names=names,
        ignore=dataset_ignore_labels(name),
        image_dir=_folder(metadata, "image_root"),
        label_dir=_folder(metadata, "sem_seg_root"),
        labels_select=getattr(spec, "labels_select", False),
        cure=f"Prepare them anew: {command}" if script else "",
        withheld=_withheld(name),
    )


def _withheld(name: str) -> tuple[int, ...]:
    """Ids of unseen classes, which the labels of a zero-shot training split must not hold."""
    if _BASE not in name:
        return ()
    seen = dataset_vocabulary(name).seen
    return tuple(i for i, is_seen in enumerate(seen or ()) if not is_seen)


def _folder(metadata: Any, key: str) -> Path | None:
    value = getattr(metadata, key, "")
    return Path(value) if value else None


def _spec(name: str) -> Any:
    return next((spec for spec in SPECS if spec.name == name), None)


def _has_images(name: str) -> bool:
    spec = _spec(name)
    return spec is not None and bool(spec.label_dir) and (data_root() / spec.image_dir).is_dir()
