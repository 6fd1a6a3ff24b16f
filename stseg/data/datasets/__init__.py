"""Data sets: the benchmark table. Importing registers the benchmarks, cheaply."""

from stseg.data.datasets.register import (
    check_registered,
    data_root,
    dataset_ignore_labels,
    dataset_label_ids,
    dataset_label_reader,
    dataset_layout,
    dataset_vocabulary,
    register_benchmarks,
)
from stseg.data.datasets.specs import SPECS, VARIANTS, DatasetSpec

register_benchmarks()

__all__ = [
    "SPECS",
    "VARIANTS",
    "DatasetSpec",
    "check_registered",
    "data_root",
    "dataset_ignore_labels",
    "dataset_label_ids",
    "dataset_label_reader",
    "dataset_layout",
    "dataset_vocabulary",
    "register_benchmarks",
]
