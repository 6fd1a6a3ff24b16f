"""The small world as data sets: small_world_{train,dev,val}_sem_seg.

Train labels hold seen classes only and its vocabulary names only these; dev and val hold all. Use
dev for every choice and val once, for the figure that is reported.

small_world_train_captions has a sentence per picture of the training split, of all classes.
small_world_target_{train,dev,val}_sem_seg are the target domain of self-training. Its training
split has images and all names, no labels; so has small_world_train_images of the training images.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stseg.data.datasets.layouts import data_root
from stseg.data.datasets.listing import list_pairs

if TYPE_CHECKING:
    from stseg.data.readers.pair_index import PairIndex

SPLITS = ("train", "dev", "val", "target_train", "target_dev", "target_val")
UNLABELLED_SPLIT = "target_train"
#: What stage 2 may see of the training split.
TRAIN_IMAGES = "small_world_train_images"
IGNORED_IN_FILES = 255
SMALL_CAPTIONS = "small_world_train_captions"


def small_world_root() -> Path:
    """$DETECTRON2_DATASETS/small_world, or ./datasets/small_world, read at every call."""
    return data_root() / "small_world"


def load_small_world(split: str, labelled: bool = True) -> list[dict[str, Any]]:
    """List the scenes of a split as Detectron2 records, without labels where it has none.

    Args:
        split: one of `SPLITS`.
        labelled: False leaves its labels out.

    Raises:
        FileNotFoundError: if the split was not rendered; names the command that does it.
        ValueError: if a scene or a label map has no partner.
    """
    name, root = f"small_world_{split}_sem_seg", small_world_root()
    image_dir = root / "images" / split
    if not any(image_dir.glob("*.png")):
        raise FileNotFoundError(
            f"Data set {name}: expected scenes in {image_dir}, got none. "
            f"Render them with `stseg data prepare small_world --out {root}`."
        )
    labelled = labelled and split != UNLABELLED_SPLIT
    label_dir = root / "labels" / split if labelled else None
    return list_pairs(name, image_dir, label_dir)


def load_small_captions() -> PairIndex:
    """The training split's pictures with their captions.

    Raises:
        FileNotFoundError: if it was not rendered; names the command that does it.
    """
    # Only here: --help and the rendering of scenes go without torch.
    from stseg.data.readers.caption_files import TablePairs
    from stseg.data.readers.pair_index import PairIndex

    root = small_world_root()
    path = root / "captions_train.jsonl"
    if not path.is_file():
        raise FileNotFoundError(
            f"Data set {SMALL_CAPTIONS}: expected {path}, got nothing there. "
            f"Render the small world with `stseg data prepare small_world --out {root}`."
        )
    return PairIndex([TablePairs(path, root / "images" / "train")])
