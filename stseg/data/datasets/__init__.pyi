from .layouts import data_root
from .register import (
    check_registered,
    dataset_ignore_labels,
    dataset_label_coding,
    dataset_label_ids,
    dataset_label_reader,
    dataset_layout,
    dataset_vocabulary,
    distinct_names,
    has_captions,
    known_names,
    register_benchmarks,
)
from .specs import SPECS, VARIANTS, DatasetSpec

__all__ = [
    "SPECS",
    "VARIANTS",
    "DatasetSpec",
    "check_registered",
    "data_root",
    "dataset_ignore_labels",
    "dataset_label_coding",
    "dataset_label_ids",
    "dataset_label_reader",
    "dataset_layout",
    "dataset_vocabulary",
    "distinct_names",
    "has_captions",
    "known_names",
    "register_benchmarks",
]
