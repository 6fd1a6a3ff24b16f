"""The small world as Detectron2 data sets: small_world_{train,dev,val}_sem_seg.

Train labels hold seen classes only and its vocabulary names only these; dev and val hold all. Use
dev for every choice and val once, for the figure that is reported.

small_world_target_{train,dev,val}_sem_seg are the target domain of self-training. Its training
split has images and all names, no labels.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from stseg.small_world.names import CLASS_NAMES, SEEN_NAMES
from stseg.small_world.split_files import IGNORED_IN_FILES, SPLITS, UNLABELLED_SPLIT
from stseg.structures import Vocabulary


def small_world_root() -> Path:
    """$DETECTRON2_DATASETS/small_world, or ./datasets/small_world, read at every call."""
    return Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser() / "small_world"


def load_small_world(split: str, root: Path | None = None) -> list[dict[str, str]]:
    """List the scenes of a split as Detectron2 records, without labels where it has none.

    Raises:
        FileNotFoundError: if the split was not rendered; names the command that does it.
    """
    root = root or small_world_root()
    image_dir, label_dir = root / "images" / split, root / "labels" / split
    images = sorted(image_dir.glob("*.png"))
    if not images:
        raise FileNotFoundError(
            f"Data set small_world_{split}_sem_seg: expected scenes in {image_dir}, got none. "
            f"Render them with python datasets/prepare_scripts/prepare_small_world.py --out {root}"
        )
    if split == UNLABELLED_SPLIT:
        return [{"file_name": str(image)} for image in images]
    return [
        {"file_name": str(image), "sem_seg_file_name": str(label_dir / image.name)}
        for image in images
    ]


def register_small_world(root: Path | None = None) -> None:
    """Register every split once; files are looked at when a split is asked for.

    Args:
        root: folder of the small world; by default ``small_world_root`` at the time of use.
    """
    for split in SPLITS:
        name = f"small_world_{split}_sem_seg"
        if name in DatasetCatalog:
            continue
        DatasetCatalog.register(name, partial(load_small_world, split, root))
        names = SEEN_NAMES if split == "train" else CLASS_NAMES
        vocabulary = Vocabulary.from_names(list(names)).with_seen(list(SEEN_NAMES))
        folder = root or small_world_root()
        MetadataCatalog.get(name).set(
            stuff_classes=list(names),
            vocabulary=vocabulary,
            ignore_label=IGNORED_IN_FILES,
            ignore_labels=(IGNORED_IN_FILES,),
            evaluator_type="sem_seg",
            image_root=str(folder / "images" / split),
            sem_seg_root="" if split == UNLABELLED_SPLIT else str(folder / "labels" / split),
        )


register_small_world()
