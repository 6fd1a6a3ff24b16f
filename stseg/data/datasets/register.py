"""Registration of the benchmark table with Detectron2, and what metadata says about a data set.

Importing this module registers the benchmarks and the small world. That touches no data: folders
are looked up and listed when a data set is asked for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog

from stseg.data.datasets.class_lists import build_vocabulary
from stseg.data.datasets.layouts import (
    ROOT_VARIABLE,
    Layout,
    data_root,
    is_present,
    present_layouts,
)
from stseg.data.datasets.listing import PLAIN_NAMES, Naming, list_pairs
from stseg.data.datasets.miniature import (
    IGNORED_IN_FILES,
    SMALL_CAPTIONS,
    SPLITS,
    TRAIN_IMAGES,
    UNLABELLED_SPLIT,
    load_small_captions,
    load_small_world,
    small_world_root,
)
from stseg.data.datasets.specs import SPECS, VARIANTS, DatasetSpec
from stseg.data.label_coding import LabelCoding
from stseg.structures import Vocabulary
from stseg.utils import did_you_mean

logger = logging.getLogger(__name__)


#: Images with captions that GroupViT and PGSeg were trained on: folder of shards below the root.
WEB_PAIRS = {"cc3m_pairs": "cc3m", "cc12m_pairs": "cc12m", "redcaps12m_pairs": "redcaps12m"}


class BenchmarkMetadata(Metadata):
    """Metadata of a benchmark; what its files mean holds for the layout that is there now."""

    spec: DatasetSpec

    @property
    def image_root(self) -> str:
        """Folder of the images."""
        return str(data_root() / dataset_layout(self.spec).image_dir)

    @property
    def sem_seg_root(self) -> str:
        """Folder of the label maps, "" if there are none."""
        label_dir = dataset_layout(self.spec).label_dir
        return str(data_root() / label_dir) if label_dir else ""

    @property
    def ignore_labels(self) -> tuple[int, ...]:
        """Ids in the label files without a class."""
        return dataset_layout(self.spec).ignore_labels

    @property
    def ignore_label(self) -> int:
        """The official one of them."""
        return self.ignore_labels[0]

    @property
    def label_ids(self) -> tuple[int, ...] | None:
        """Class ids of the ids in the label files, see `Layout.label_ids`."""
        return dataset_layout(self.spec).label_ids

    @property
    def withheld_by(self) -> str:
        """Zero-shot split that the label maps were written for, see `Layout.withheld_by`."""
        return dataset_layout(self.spec).withheld_by

    def as_dict(self) -> dict[str, Any]:
        """All of it, as it is now."""
        of_files = ("ignore_labels", "ignore_label", "label_ids", "withheld_by")
        computed = ("image_root", "sem_seg_root", *of_files)
        return super().as_dict() | {key: getattr(self, key) for key in computed}


def load_benchmark(spec: DatasetSpec) -> list[dict[str, Any]]:
    """List one benchmark split below the present data root, in the first layout found there.

    Returns:
        Records with "file_name" and, where the split has labels, "sem_seg_file_name", sorted by
        stem.

    Raises:
        FileNotFoundError: if a folder or a list is missing; names the path, the root and the cure.
        ValueError: if an image or a label has no partner, or a listed image is missing.
    """
    present = present_layouts(spec.layouts, data_root())
    layout = present[0] if present else spec
    image_dir = _existing(spec, layout.image_dir)
    label_dir = _existing(spec, layout.label_dir) if layout.label_dir else None
    listed = _existing(spec, layout.image_list) if layout.image_list else None
    _tell(spec.name, tuple(present), layout is spec)
    return list_pairs(spec.name, image_dir, label_dir, layout.naming, listed)


def dataset_layout(spec: DatasetSpec) -> Layout:
    """The first layout whose files lie below the data root; the row's own where there are none."""
    root = data_root()
    return next((layout for layout in spec.layouts if is_present(layout, root)), spec)


@cache  # once for every finding
def _tell(name: str, present: tuple[Layout, ...], is_own: bool) -> None:
    """Log which of several layouts is used, or that it is a peer's."""
    if not present or (is_own and len(present) == 1):
        return
    used, *more = (
        f"{found.label_dir or found.image_dir} ({found.convention})" for found in present
    )
    if more:
        logger.warning("%s: %s is used; %s is there, too.", name, used, ", ".join(more))
    else:
        logger.info("%s: %s is used.", name, used)


def _existing(spec: DatasetSpec, path: str) -> Path:
    found = data_root() / path
    if found.exists():
        return found
    setting = _root_setting()
    cure = f" and run `stseg data prepare {spec.prepared_by}`" if spec.prepared_by else ""
    peers = ", ".join(layout.label_dir or layout.image_dir for layout in spec.others)
    also = f" or in the peers' {peers}" if peers else ""
    raise FileNotFoundError(
        f"Data set {spec.name}: expected {found}, got nothing there{also}. {ROOT_VARIABLE} "
        f"{setting}. Point it at your data{cure}; see datasets/README.md."
    )


def _root_setting() -> str:
    """What the variable says, for messages."""
    value = os.environ.get(ROOT_VARIABLE)
    return f"is {value!r}" if value else f"is not set, so {data_root().resolve()} is used"


def register_benchmarks() -> None:
    """Register every split of the table that the process does not know yet."""
    for spec in (*SPECS, *VARIANTS):
        if spec.name in DatasetCatalog:
            # SED, CAT-Seg and others use these names too; whoever came first keeps them.
            logger.debug("Data set %s is registered already; left as it is.", spec.name)
            continue
        DatasetCatalog.register(spec.name, partial(load_benchmark, spec))
        MetadataCatalog[spec.name] = BenchmarkMetadata(
            name=spec.name,
            spec=spec,
            vocabulary=spec.vocabulary,
            stuff_classes=spec.class_names,
            evaluator_type=spec.evaluator_type,
        )


def register_small_world() -> None:
    """Register every split once; files are looked at when a split is asked for."""
    everything = build_vocabulary("small_world", "small_world")
    seen = build_vocabulary("small_world", "small_world", seen_only=True)
    folder = small_world_root()
    rows = [(f"small_world_{split}_sem_seg", split, split != UNLABELLED_SPLIT) for split in SPLITS]
    for name, split, labelled in (*rows, (TRAIN_IMAGES, "train", False)):
        if name in DatasetCatalog:
            continue
        of_seen = labelled and split == "train"
        register_with_metadata(
            name,
            partial(load_small_world, split, labelled),
            vocabulary=seen.with_seen(list(seen.names)) if of_seen else everything,
            ignore_labels=(IGNORED_IN_FILES,),
            image_root=str(folder / "images" / split),
            sem_seg_root=str(folder / "labels" / split) if labelled else "",
        )
    if SMALL_CAPTIONS not in DatasetCatalog:
        folder = small_world_root()
        register_captions(SMALL_CAPTIONS, load_small_captions, str(folder / "images" / "train"))


def register_web_pairs() -> None:
    """Register images with captions from the web; shards are looked for when a set is asked for."""
    for name, folder in WEB_PAIRS.items():
        if name not in DatasetCatalog:
            register_captions(name, partial(load_web_pairs, name), str(data_root() / folder))


def load_web_pairs(name: str) -> Any:
    """The `PairIndex` of a set below the present data root.

    Raises:
        FileNotFoundError: if there is no shard; names the folder, the root and the cure.
    """
    from stseg.data.readers.pair_index import PairIndex
    from stseg.data.readers.tar_shards import ShardPairs  # takes torch

    folder = data_root() / WEB_PAIRS[name]
    shards = sorted(map(str, folder.glob("*.tar")))
    if not shards:
        raise FileNotFoundError(
            f"Data set {name}: expected tar shards in {folder}, got none. {ROOT_VARIABLE} "
            f"{_root_setting()}. Make them with img2dataset, see datasets/README.md, or name a "
            "folder of your own in DATASETS.PAIRS."
        )
    return PairIndex([ShardPairs.of(shards, name)])


def register_with_metadata(
    name: str,
    load: Callable[[], list[dict[str, Any]]],
    *,
    vocabulary: Vocabulary,
    ignore_labels: tuple[int, ...],
    image_root: str,
    sem_seg_root: str,
    coding: LabelCoding | None = None,
    naming: Naming = PLAIN_NAMES,
    listed: Path | None = None,
) -> None:
    """Register a data set with the metadata that others read.

    Args:
        name: in DatasetCatalog; must be new.
        load: called without arguments when the records are wanted.
        vocabulary: the classes, by id.
        ignore_labels: ids in the files without a class, the official one first.
        image_root: folder of the images.
        sem_seg_root: folder of the label maps, "" if there are none.
        coding: what the values in the label maps mean; by default they are class ids.
        naming: how the files are called, for `stseg data verify`.
        listed: file that names the images, likewise.

    Raises:
        ValueError: if an ignored id is also a class id or does not fit 16 bits.
    """
    for label in ignore_labels:
        if not len(vocabulary) <= label <= 65535:
            raise ValueError(
                f"Data set {name}: expected an ignored id from {len(vocabulary)} (the number "
                f"of classes) to 65535, got {label}."
            )
    DatasetCatalog.register(name, load)
    MetadataCatalog[name] = Metadata(
        name=name,
        vocabulary=vocabulary,
        stuff_classes=list(vocabulary.names),
        ignore_label=ignore_labels[0],
        ignore_labels=ignore_labels,
        evaluator_type="sem_seg",
        image_root=image_root,
        sem_seg_root=sem_seg_root,
        naming=naming,
        image_list=listed,
        **({} if coding is None else {"label_coding": coding}),
    )


def register_captions(name: str, load: Callable[[], Any], image_root: str) -> None:
    """Register pairs of image and caption, which have no classes.

    Args:
        name: in DatasetCatalog; must be new.
        load: called without arguments when the `PairIndex` is wanted.
        image_root: where the pairs lie.
    """
    DatasetCatalog.register(name, load)
    MetadataCatalog[name] = Metadata(name=name, has_captions=True, image_root=image_root)


def has_captions(name: str) -> bool:
    """Whether a data set holds pairs of image and caption, and no classes."""
    return getattr(MetadataCatalog.get(name), "has_captions", False)


def known_names() -> list[str]:
    """Names of every data set that this project registered, or that has its metadata."""
    return [n for n in DatasetCatalog.list() if hasattr(MetadataCatalog.get(n), "vocabulary")]


def distinct_names() -> list[str]:
    """The same without the names that only ask for the files of another one in other words."""
    variants = {spec.name for spec in VARIANTS}
    return [name for name in known_names() if name not in variants]


def check_registered(name: str, key: str) -> None:
    """Refuse a name that no data set has, or that of captions where label maps are needed.

    Raises:
        ValueError: names the config key, the name and the registered ones of the same kind.
    """
    if name in DatasetCatalog:
        if has_captions(name) and key != "DATASETS.TRAIN":
            raise ValueError(
                f"{key}: expected a data set with classes, got {name!r}, pairs of image and "
                "caption. They are for DATASETS.TRAIN alone."
            )
        return
    raise ValueError(
        f"{key}: expected a registered data set, got {name!r}. Known: "
        f"{', '.join(distinct_names())}; other words for their classes have names that end in "
        "_synonyms, see datasets/README.md. Add folders of your own with DATASETS.FOLDERS."
        f"{did_you_mean(name, DatasetCatalog.list())}"
    )


def dataset_vocabulary(name: str) -> Vocabulary:
    """Vocabulary of a registered data set; of `stuff_classes` where others registered it."""
    metadata = MetadataCatalog.get(name)
    if hasattr(metadata, "vocabulary"):
        return metadata.vocabulary
    if hasattr(metadata, "stuff_classes"):
        return Vocabulary.from_names(metadata.stuff_classes, allow_shared_names=True)
    if has_captions(name):
        raise ValueError(
            f"Data set {name}: expected one with classes, got pairs of image and caption. They "
            "are for DATASETS.TRAIN, of a system that learns from captions, and not for adaptation."
        )
    raise ValueError(
        f"Data set {name}: expected metadata 'vocabulary' or 'stuff_classes', got neither. "
        "Register it with stseg.data.datasets.register_folder."
    )


def dataset_ignore_labels(name: str) -> tuple[int, ...]:
    """Ids without a class in the label files of a registered data set."""
    metadata = MetadataCatalog.get(name)
    return tuple(getattr(metadata, "ignore_labels", (getattr(metadata, "ignore_label", 255),)))


def dataset_label_ids(name: str) -> tuple[int, ...] | None:
    """For every id in the label files its class id, see `read_label`; None for class ids."""
    return getattr(MetadataCatalog.get(name), "label_ids", None)


def dataset_label_coding(name: str) -> LabelCoding:
    """What the values in the label files of a registered data set mean, whoever registered it."""
    metadata = MetadataCatalog.get(name)
    coding = getattr(metadata, "label_coding", None)
    if coding is not None and not coding.is_plain:
        return coding
    classes = len(getattr(metadata, "stuff_classes", None) or dataset_vocabulary(name))
    return LabelCoding(
        classes,
        dataset_ignore_labels(name),
        dataset_label_ids(name),
        withheld_by=getattr(metadata, "withheld_by", ""),
    )


def dataset_label_reader(name: str) -> Callable[[str], np.ndarray]:
    """Reader of the label files of a registered data set, see `LabelCoding.read`."""
    return dataset_label_coding(name).read


register_benchmarks()
register_small_world()
register_web_pairs()
