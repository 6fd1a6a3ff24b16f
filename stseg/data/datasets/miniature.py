"""The small world as data sets: small_world_{train,dev,val}_sem_seg.

Train labels hold seen classes only and its vocabulary names only these; dev and val hold all. Use
dev for every choice and val once, for the figure that is reported.

small_world_target_{train,dev,val}_sem_seg are the target domain of self-training. Its training
split has images and all names, no labels.
"""

from __future__ import annotations

import os
from pathlib import Path

SPLITS = ("train", "dev", "val", "target_train", "target_dev", "target_val")
UNLABELLED_SPLIT = "target_train"
IGNORED_IN_FILES = 255


def small_world_root() -> Path:
    """$DETECTRON2_DATASETS/small_world, or ./datasets/small_world, read at every call."""
    return Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser() / "small_world"


def load_small_world(split: str) -> list[dict[str, str]]:
    """List the scenes of a split as Detectron2 records, without labels where it has none.

    Raises:
        FileNotFoundError: if the split was not rendered; names the command that does it.
    """
    root = small_world_root()
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
