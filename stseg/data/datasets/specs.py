"""The table of benchmark data sets: one frozen row per registered name.

Names, folders and encodings are those of the open-vocabulary peers (SED, CAT-Seg), so that a
`DETECTRON2_DATASETS` root prepared for them works as it is. Class lists lie in `vocab/*.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VOCAB_DIR = Path(__file__).parent / "vocab"


@dataclass(frozen=True)
class DatasetSpec:
    """One benchmark split.

    Attributes:
        name: name in Detectron2's DatasetCatalog.
        image_dir: folder of the images below the data root, with forward slashes.
        label_dir: folder of the prepared label maps below the data root, "" for images only.
        vocab: stem of the class list in `vocab/`: the names the model is asked for.
        ignore_labels: ids in the label FILES that carry no class; the first one is the official.
        prepare_script: the script in `datasets/prepare_scripts/` that writes what the download
            lacks, "" if it lacks nothing.
        labels_select: True where `image_dir` also holds images of other splits, so that the
            labels say which images belong to this one; an image without a label is no error then.
        image_list: the download's file below the data root that lists the stems of this split, one
            a line; "" takes the whole of `image_dir`. For images only.
        background_id: None, or the label id that stands for "none of the first background_id
            classes". Predictions at or above it count as it (evaluator "sem_seg_background").
    """

    name: str
    image_dir: str
    label_dir: str
    vocab: str
    ignore_labels: tuple[int, ...]
    prepare_script: str
    labels_select: bool = False
    image_list: str = ""
    background_id: int | None = None

    @property
    def evaluator_type(self) -> str:
        """Key of the evaluator in `stseg.evaluation.EVALUATOR_REGISTRY`."""
        return "sem_seg" if self.background_id is None else "sem_seg_background"

    @property
    def label_names(self) -> list[str]:
        """Names of the ids in the label files (not the vocabulary's where background is folded)."""
        names = load_class_list(self.vocab)
        if self.background_id is None:
            return list(names)
        return [*names[: self.background_id], "background"]


@cache
def load_class_list(stem: str) -> tuple[str, ...]:
    """Read the class entries of `vocab/<stem>.json`; ", " inside an entry separates synonyms."""
    with open(VOCAB_DIR / f"{stem}.json", encoding="utf-8") as f:
        return tuple(json.load(f)["classes"])


def _coco_stuff(name: str, split: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        image_dir=f"coco-stuff/images/{split}",
        label_dir=f"coco-stuff/annotations_detectron2/{split}",
        vocab="coco_stuff_171",
        ignore_labels=(255,),
        prepare_script="prepare_coco_stuff.py",
    )


def _train_images(
    name: str, image_dir: str, vocab: str, *, image_list: str = "", prepare_script: str = ""
) -> DatasetSpec:
    """What stage 2 may see of a benchmark: images of its training split and its names."""
    return DatasetSpec(
        name=name,
        image_dir=image_dir,
        label_dir="",
        vocab=vocab,
        ignore_labels=(65535,),
        prepare_script=prepare_script,
        image_list=image_list,
    )


#: PASCAL-Context annotates the trainval images of VOC 2010 and keeps its split.
_VOC_2010 = ("VOCdevkit/VOC2010/JPEGImages", "VOCdevkit/VOC2010/ImageSets/Main/train.txt")
_VOC_2012 = ("VOCdevkit/VOC2012/JPEGImages", "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt")

SPECS: tuple[DatasetSpec, ...] = (
    _coco_stuff("coco_2017_train_stuff_all_sem_seg", "train2017"),
    _coco_stuff("coco_2017_test_stuff_all_sem_seg", "val2017"),
    DatasetSpec(
        name="ade20k_150_test_sem_seg",
        image_dir="ADEChallengeData2016/images/validation",
        label_dir="ADEChallengeData2016/annotations_detectron2/validation",
        vocab="ade20k_150",
        ignore_labels=(255,),
        prepare_script="prepare_ade20k_150.py",
    ),
    DatasetSpec(
        name="ade20k_full_sem_seg_freq_val_all",
        image_dir="ADE20K_2021_17_01/images_detectron2/validation",
        label_dir="ADE20K_2021_17_01/annotations_detectron2/validation",
        vocab="ade20k_847",
        ignore_labels=(65535,),
        prepare_script="prepare_ade20k_full.py",
    ),
    DatasetSpec(
        name="context_59_test_sem_seg",
        image_dir="VOCdevkit/VOC2010/JPEGImages",
        label_dir="VOCdevkit/VOC2010/annotations_detectron2/pc59_val",
        vocab="pascal_context_59",
        ignore_labels=(255,),
        prepare_script="prepare_pascal_context_59.py",
        labels_select=True,
    ),
    DatasetSpec(
        name="context_459_test_sem_seg",
        image_dir="VOCdevkit/VOC2010/JPEGImages",
        label_dir="VOCdevkit/VOC2010/annotations_detectron2/pc459_val",
        vocab="pascal_context_459",
        # The maps are uint16 LabelMap - 1, so an unlabelled 0 became 65535; the peers register 459.
        ignore_labels=(459, 65535),
        prepare_script="prepare_pascal_context_459.py",
        labels_select=True,
    ),
    DatasetSpec(
        name="voc_2012_test_sem_seg",
        image_dir="VOCdevkit/VOC2012/JPEGImages",
        label_dir="VOCdevkit/VOC2012/annotations_detectron2/val",
        vocab="voc_20",
        ignore_labels=(255,),
        prepare_script="prepare_voc.py",
        labels_select=True,
    ),
    DatasetSpec(
        name="voc_2012_test_background_sem_seg",
        image_dir="VOCdevkit/VOC2012/JPEGImages",
        label_dir="VOCdevkit/VOC2012/annotations_detectron2_bg/val",
        vocab="voc_20b",
        ignore_labels=(255,),
        prepare_script="prepare_voc.py",
        labels_select=True,
        background_id=20,
    ),
    _train_images("ade20k_150_train_images", "ADEChallengeData2016/images/training", "ade20k_150"),
    _train_images(
        "ade20k_full_train_images",
        "ADE20K_2021_17_01/images_detectron2/training",
        "ade20k_847",
        prepare_script="prepare_ade20k_full.py",
    ),
    _train_images(
        "context_59_train_images", _VOC_2010[0], "pascal_context_59", image_list=_VOC_2010[1]
    ),
    _train_images(
        "context_459_train_images", _VOC_2010[0], "pascal_context_459", image_list=_VOC_2010[1]
    ),
    _train_images("voc_2012_train_images", _VOC_2012[0], "voc_20", image_list=_VOC_2012[1]),
)
