"""The table of benchmark data sets: one frozen row per registered name.

Names, folders and encodings are those of the open-vocabulary peers (SED, CAT-Seg), so that a
`DETECTRON2_DATASETS` root prepared for them works as it is; where its files are missing, those of
SAN, EBSeg and FC-CLIP are looked for. Class lists lie in `vocab/*.json`.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from stseg.data.datasets import peers
from stseg.data.datasets.class_lists import (
    STYLES,
    load_class_list,
    load_id_table,
    load_unseen,
)
from stseg.data.datasets.layouts import DatasetSpec, Layout
from stseg.structures import IGNORE_LABEL


def _coco_stuff(name: str, split: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        image_dir=f"coco-stuff/images/{split}",
        label_dir=f"coco-stuff/annotations_detectron2/{split}",
        vocab="coco_stuff_171",
        prepared_by="coco_stuff",
        others=peers.coco_stuff(split, split),
    )


def _ade20k(name: str, split: str) -> DatasetSpec:
    return DatasetSpec(
        convention="SED, CAT-Seg, SAN, EBSeg, FC-CLIP",
        name=name,
        image_dir=f"ADEChallengeData2016/images/{split}",
        label_dir=f"ADEChallengeData2016/annotations_detectron2/{split}",
        vocab="ade20k_150",
        prepared_by="ade20k_150",
    )


def _ade20k_full(name: str, split: str) -> DatasetSpec:
    return DatasetSpec(
        convention="SED, CAT-Seg, SAN, EBSeg, FC-CLIP",
        name=name,
        image_dir=f"ADE20K_2021_17_01/images_detectron2/{split}",
        label_dir=f"ADE20K_2021_17_01/annotations_detectron2/{split}",
        vocab="ade20k_847",
        ignore_labels=(65535,),
        prepared_by="ade20k_full",
    )


def _context(name: str, classes: int, split: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        image_dir="VOCdevkit/VOC2010/JPEGImages",
        label_dir=f"VOCdevkit/VOC2010/annotations_detectron2/pc{classes}_{split}",
        vocab=f"pascal_context_{classes}",
        # The maps of 459 are uint16 LabelMap - 1, so an unlabelled 0 became 65535; SED registers
        # 459.
        ignore_labels=(255,) if classes == 59 else (459, 65535),
        prepared_by=f"pascal_context_{classes}",
        labels_select=True,
        others=peers.context(classes, split),
    )


def _voc(
    name: str,
    split: str,
    others: tuple[Layout, ...],
    *,
    vocab: str = "voc_20",
    suffix: str = "",
    background_id: int | None = None,
) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        image_dir="VOCdevkit/VOC2012/JPEGImages",
        label_dir=f"VOCdevkit/VOC2012/annotations_detectron2{suffix}/{split}",
        vocab=vocab,
        prepared_by="voc",
        labels_select=True,
        background_id=background_id,
        others=others,
    )


def _cityscapes(name: str, split: str) -> DatasetSpec:
    return DatasetSpec(
        convention="stseg",
        name=name,
        image_dir=f"cityscapes/leftImg8bit/{split}",
        label_dir=f"cityscapes/annotations_detectron2/{split}",
        vocab="cityscapes_19",
        prepared_by="cityscapes",
        nested=True,
        others=peers.cityscapes(split),
    )


def _base(name: str, full: DatasetSpec, label_dir: str, split: str, *others: Layout) -> DatasetSpec:
    """Training labels of the seen classes of a zero-shot split, asked for by their names alone.

    The maps keep the ids of all classes; they and `others` were written for the split, and one that
    holds an unseen class is refused. Where there are only maps of all classes these do: what they
    hold of unseen classes is ignored.
    """
    unseen, count = load_unseen(split), len(load_class_list(full.vocab))
    seen = [i for i in range(count) if i not in unseen]
    ids = tuple(seen.index(i) if i not in unseen else IGNORE_LABEL for i in range(count))
    whole = [_layout(layout, label_ids=ids) for layout in full.layouts]
    written = [_layout(layout, withheld_by=split) for layout in others]
    return replace(
        full,
        name=name,
        label_dir=label_dir,
        label_ids=ids,
        withheld_by=split,
        labels_select=True,
        split=split,
        seen_only=True,
        others=(*written, *whole),
    )


def _layout(layout: Layout, **changes: object) -> Layout:
    """The layout alone, also out of a whole row."""
    kept = {field.name: getattr(layout, field.name) for field in fields(Layout)}
    return Layout(**(kept | changes))


def _with_rest(name: str, full: DatasetSpec, vocab: str, label_ids: tuple[int, ...]) -> DatasetSpec:
    """The maps of another row with one more class, 0, of what is none of those that are asked for.

    Args:
        name: of the new row.
        full: whose files, in all layouts, hold the ids of its own classes.
        vocab: stem of the list, whose first class has no words.
        label_ids: class of every id in the files, those without a class included if they are in it.
    """
    ignored = tuple(i for i in full.ignore_labels if i >= len(label_ids)) or _NO_ID
    changes: dict[str, Any] = {"label_ids": label_ids, "ignore_labels": ignored}
    others = tuple(_layout(layout, **changes) for layout in full.others)
    return replace(full, name=name, vocab=vocab, others=others, **changes)


def _train_images(
    name: str,
    image_dir: str,
    vocab: str,
    *others: tuple[str, str, str],
    image_list: str = "",
    prepared_by: str = "",
) -> DatasetSpec:
    """What stage 2 may see of a benchmark: images of its training split and its names.

    `others` are (convention, folder of the images, list or "").
    """
    return DatasetSpec(
        name=name,
        image_dir=image_dir,
        label_dir="",
        vocab=vocab,
        ignore_labels=(65535,),
        prepared_by=prepared_by,
        image_list=image_list,
        others=tuple(
            Layout(
                convention=convention,
                image_dir=folder,
                label_dir="",
                ignore_labels=(65535,),
                image_list=listed,
            )
            for convention, folder, listed in others
        ),
    )


#: An id that 8-bit maps do not hold, where each of theirs is a class or beside the classes.
_NO_ID = (65535,)
#: Of PASCAL-Context-60: what 59 classes leave unlabelled, 255, is the class without words.
_CONTEXT_60_IDS = (*range(1, 60), *[IGNORE_LABEL] * (255 - 59), 0)
#: Of COCO-Object: COCO-Stuff's 80 things, and one class of all its stuff.
_COCO_OBJECT_IDS = (*range(1, 81), *[0] * (171 - 80))

#: PASCAL-Context annotates the trainval images of VOC 2010 and keeps its split.
_VOC_2010 = ("VOCdevkit/VOC2010/JPEGImages", "VOCdevkit/VOC2010/ImageSets/Main/train.txt")
_VOC_2012 = ("VOCdevkit/VOC2012/JPEGImages", "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt")
_CONTEXT_FC_CLIP = ("FC-CLIP", "pascal_ctx_d2/images/training", "")

_COCO_TRAIN = _coco_stuff("coco_2017_train_stuff_all_sem_seg", "train2017")
_COCO_TEST = _coco_stuff("coco_2017_test_stuff_all_sem_seg", "val2017")
_ADE_FULL_TRAIN = _ade20k_full("ade20k_full_train_sem_seg", "training")
_ADE_FULL_TEST = _ade20k_full("ade20k_full_sem_seg_freq_val_all", "validation")
_CONTEXT_59_TRAIN = _context("context_59_train_sem_seg", 59, "train")
_CONTEXT_59_TEST = _context("context_59_test_sem_seg", 59, "val")
_VOC_TRAIN = _voc("voc_2012_train_sem_seg", "train", peers.voc_20("train"))
_VOC_TEST = _voc("voc_2012_test_sem_seg", "val", peers.voc_20("val"))

#: One row per set of label maps or images.
SPECS: tuple[DatasetSpec, ...] = (
    _COCO_TRAIN,
    _COCO_TEST,
    _ade20k("ade20k_150_train_sem_seg", "training"),
    _ade20k("ade20k_150_test_sem_seg", "validation"),
    _ADE_FULL_TRAIN,
    _ADE_FULL_TEST,
    _CONTEXT_59_TRAIN,
    _CONTEXT_59_TEST,
    _context("context_459_train_sem_seg", 459, "train"),
    _context("context_459_test_sem_seg", 459, "val"),
    _VOC_TRAIN,
    _VOC_TEST,
    _voc(
        "voc_2012_test_background_sem_seg",
        "val",
        peers.voc_21("val", label_ids=load_id_table("voc_21_to_20b")),
        vocab="voc_20b",
        suffix="_bg",
        background_id=20,
    ),
    _voc("voc_2012_21_test_sem_seg", "val", peers.voc_21("val"), vocab="voc_21", suffix="_21"),
    _with_rest("context_60_test_sem_seg", _CONTEXT_59_TEST, "pascal_context_60", _CONTEXT_60_IDS),
    _with_rest("coco_object_81_test_sem_seg", _COCO_TEST, "coco_object_81", _COCO_OBJECT_IDS),
    _cityscapes("cityscapes_19_train_sem_seg", "train"),
    _cityscapes("cityscapes_19_test_sem_seg", "val"),
    _base(
        "coco_2017_train_stuff_base_sem_seg",
        _COCO_TRAIN,
        "coco-stuff/annotations_detectron2_base/train2017",
        "coco_stuff_156_15",
        # These count the seen classes through.
        *peers.coco_stuff("train2017", "train2017_base"),
    ),
    _base(
        "voc_2012_train_base_sem_seg",
        _VOC_TRAIN,
        "VOCdevkit/VOC2012/annotations_detectron2_base/train",
        "voc_15_5",
    ),
    _base(
        "context_59_train_base_sem_seg",
        _CONTEXT_59_TRAIN,
        "VOCdevkit/VOC2010/annotations_detectron2_base/pc59_train",
        "pascal_context_49_10",
    ),
    _base(
        "ade20k_full_train_base_sem_seg",
        _ADE_FULL_TRAIN,
        "ADE20K_2021_17_01/annotations_detectron2_base/training",
        "ade20k_847_572_275",
    ),
    _train_images("ade20k_150_train_images", "ADEChallengeData2016/images/training", "ade20k_150"),
    _train_images(
        "ade20k_full_train_images",
        "ADE20K_2021_17_01/images_detectron2/training",
        "ade20k_847",
        prepared_by="ade20k_full",
    ),
    _train_images(
        "context_59_train_images",
        _VOC_2010[0],
        "pascal_context_59",
        ("SAN, EBSeg", "pcontext/train/image", ""),
        _CONTEXT_FC_CLIP,
        image_list=_VOC_2010[1],
    ),
    _train_images(
        "context_459_train_images",
        _VOC_2010[0],
        "pascal_context_459",
        ("SAN, EBSeg", "pcontext_full/train/image", ""),
        _CONTEXT_FC_CLIP,
        image_list=_VOC_2010[1],
    ),
    _train_images(
        "voc_2012_train_images",
        _VOC_2012[0],
        "voc_20",
        ("SAN", "VOC2012/JPEGImages", "VOC2012/train.txt"),
        ("EBSeg", "VOC2012/JPEGImages", "VOC2012/trainaug.txt"),
        ("FC-CLIP", "pascal_voc_d2/images/training", ""),
        image_list=_VOC_2012[1],
    ),
)


def _variants() -> tuple[DatasetSpec, ...]:
    styled = [
        replace(spec, name=f"{spec.name}_{style}", asked=asked)
        for spec in SPECS
        for style, asked in STYLES[spec.vocab].items()
    ]
    zero_shot = [
        replace(spec, name=f"{spec.name}_zero_shot", split=split)
        for spec, split in (
            (_COCO_TEST, "coco_stuff_156_15"),
            (_VOC_TEST, "voc_15_5"),
            (_CONTEXT_59_TEST, "pascal_context_49_10"),
            (_ADE_FULL_TEST, "ade20k_847_572_275"),
        )
    ]
    ovseg = replace(
        _CONTEXT_59_TEST,
        convention="ov-seg, SCAN",
        name="context_59_ovseg_test_sem_seg",
        label_ids=load_id_table("pascal_context_59_ovseg"),
        others=(),
    )
    return (*styled, *zero_shot, ovseg)


#: The same files under other names: asked for in other words, with the marks of a zero-shot split,
#: or read in another order of ids.
VARIANTS: tuple[DatasetSpec, ...] = _variants()
