"""Registration of the benchmark table with Detectron2, and what metadata says about a data set.

Registering touches no data: folders are looked up and listed when a data set is asked for.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from stseg.data.datasets.listing import list_pairs, select_listed
from stseg.data.datasets.specs import SPECS, DatasetSpec, load_class_list
from stseg.structures import Vocabulary

logger = logging.getLogger(__name__)

ROOT_VARIABLE = "DETECTRON2_DATASETS"


def data_root() -> Path:
    """Folder that holds all benchmarks: $DETECTRON2_DATASETS, or ./datasets, read at every call."""
    return Path(os.environ.get(ROOT_VARIABLE) or "datasets").expanduser()


def load_benchmark(spec: DatasetSpec) -> list[dict[str, Any]]:
    """List one benchmark split below the present data root.

    Returns:
        Records with "file_name" and, where the split has labels, "sem_seg_file_name", sorted by
        stem.

    Raises:
        FileNotFoundError: if a folder or a list is missing; names the path, the root and the cure.
        ValueError: if an image or a label has no partner, or a listed image is missing.
    """
    image_dir = _existing(spec, spec.image_dir)
    label_dir = _existing(spec, spec.label_dir) if spec.label_dir else None
    listed = _existing(spec, spec.image_list) if spec.image_list else None
    _renew(spec.name, image_root=str(image_dir), sem_seg_root=str(label_dir or ""))
    records = list_pairs(spec.name, image_dir, label_dir, spec.labels_select)
    return records if listed is None else select_listed(spec.name, records, listed)


def _existing(spec: DatasetSpec, path: str) -> Path:
    found = data_root() / path
    if found.exists():
        return found
    value = os.environ.get(ROOT_VARIABLE)
    setting = f"is {value!r}" if value else f"is not set, so {data_root().resolve()} is used"
    script = spec.prepare_script
    cure = f" and run datasets/prepare_scripts/{script}" if script else ""
    raise FileNotFoundError(
        f"Data set {spec.name}: expected {found}, got nothing there. {ROOT_VARIABLE} {setting}. "
        f"Point it at your data{cure}; see datasets/README.md."
    )


def _renew(name: str, **attributes: Any) -> None:
    """Set metadata that may differ from an earlier call: Metadata itself refuses a change."""
    metadata = MetadataCatalog.get(name)
    for key, value in attributes.items():
        metadata.__dict__[key] = value


def register_benchmarks(specs: tuple[DatasetSpec, ...] = SPECS) -> None:
    """Register every split of the table that the process does not know yet."""
    for spec in specs:
        if spec.name in DatasetCatalog:
            # SED, CAT-Seg and others use these names too; whoever came first keeps them.
            logger.debug("Data set %s is registered already; left as it is.", spec.name)
            continue
        register_with_metadata(
            spec.name,
            lambda spec=spec: load_benchmark(spec),
            vocabulary=Vocabulary.from_names(load_class_list(spec.vocab), allow_shared_names=True),
            stuff_classes=spec.label_names,
            ignore_labels=spec.ignore_labels,
            evaluator_type=spec.evaluator_type,
            image_root=str(data_root() / spec.image_dir),
            sem_seg_root=str(data_root() / spec.label_dir) if spec.label_dir else "",
        )


def register_with_metadata(
    name: str,
    load: Any,
    *,
    vocabulary: Vocabulary,
    stuff_classes: list[str],
    ignore_labels: tuple[int, ...],
    evaluator_type: str,
    image_root: str,
    sem_seg_root: str,
) -> None:
    """Register a data set together with all metadata that mapper and evaluators read.

    Args:
        name: in DatasetCatalog; must be new.
        load: called without arguments when the records are wanted.
        vocabulary: the classes a model is asked for.
        stuff_classes: names of the ids in the label files.
        ignore_labels: ids in the files without a class, the official one first.
        evaluator_type: key in `stseg.evaluation.EVALUATOR_REGISTRY`.
        image_root: folder of the images.
        sem_seg_root: folder of the label maps, "" if there are none.

    Raises:
        ValueError: if an ignored id is also a class id or does not fit 16 bits.
    """
    for label in ignore_labels:
        if not len(stuff_classes) <= label <= 65535:
            raise ValueError(
                f"Data set {name}: expected an ignored id from {len(stuff_classes)} (the number "
                f"of classes) to 65535, got {label}."
            )
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        vocabulary=vocabulary,
        stuff_classes=stuff_classes,
        ignore_label=ignore_labels[0],
        ignore_labels=ignore_labels,
        evaluator_type=evaluator_type,
    )
    _renew(name, image_root=image_root, sem_seg_root=sem_seg_root)


def check_registered(name: str, key: str) -> None:
    """Refuse a name that no data set has.

    Raises:
        ValueError: names the config key, the name and the registered ones of the same kind.
    """
    if name in DatasetCatalog:
        return
    ours = [n for n in DatasetCatalog.list() if hasattr(MetadataCatalog.get(n), "vocabulary")]
    raise ValueError(
        f"{key}: expected a registered data set, got {name!r}. Known: {', '.join(ours)}. "
        "Add folders of your own with DATASETS.FOLDERS."
    )


def dataset_vocabulary(name: str) -> Vocabulary:
    """Vocabulary of a registered data set; of `stuff_classes` where others registered it."""
    metadata = MetadataCatalog.get(name)
    if hasattr(metadata, "vocabulary"):
        return metadata.vocabulary
    if hasattr(metadata, "stuff_classes"):
        return Vocabulary.from_names(metadata.stuff_classes, allow_shared_names=True)
    raise ValueError(
        f"Data set {name}: expected metadata 'vocabulary' or 'stuff_classes', got neither. "
        "Register it with stseg.data.datasets.register_folder."
    )


def dataset_ignore_labels(name: str) -> tuple[int, ...]:
    """Ids without a class in the label files of a registered data set."""
    metadata = MetadataCatalog.get(name)
    return tuple(getattr(metadata, "ignore_labels", (getattr(metadata, "ignore_label", 255),)))
