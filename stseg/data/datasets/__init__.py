"""Data sets: the benchmark table and folders. Importing registers the benchmarks, cheaply."""

from stseg.data.datasets.folders import register_data, register_folder, register_from_cfg
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
from stseg.data.datasets.small_world import register_small_world
from stseg.data.datasets.specs import SPECS, VARIANTS, DatasetSpec
from stseg.data.datasets.unlabelled import list_images, register_images

register_benchmarks()
register_small_world()

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
    "list_images",
    "register_benchmarks",
    "register_data",
    "register_folder",
    "register_from_cfg",
    "register_images",
    "register_small_world",
]
