"""Where SAN, EBSeg and FC-CLIP keep the benchmarks, unless it is where SED and CAT-Seg do."""

from __future__ import annotations

from typing import Any

from stseg.data.datasets.layouts import Layout

#: A split's folder as FC-CLIP calls it.
_FC_CLIP_SPLIT = {"train": "training", "val": "validation"}


def _layout(convention: str, images: str, labels: str, **more: Any) -> Layout:
    return Layout(convention=convention, image_dir=images, label_dir=labels, **more)


def coco_stuff(split: str, labels: str) -> tuple[Layout, ...]:
    """Maps of a split; their scripts write none for an image without any class."""
    maps = f"stuffthingmaps_detectron2/{labels}"
    return (
        _layout("EBSeg", f"coco-stuff/images/{split}", f"coco-stuff/{maps}", labels_select=True),
        _layout("SAN, FC-CLIP", f"coco/{split}", f"coco/{maps}", labels_select=True),
    )


def context(classes: int, split: str) -> tuple[Layout, ...]:
    """PASCAL-Context of 59 or 459 classes."""
    san, fc_clip = "pcontext" if classes == 59 else "pcontext_full", _FC_CLIP_SPLIT[split]
    ignored = (255,) if classes == 59 else (65535,)
    labels = f"pascal_ctx_d2/annotations_ctx{classes}/{fc_clip}"
    return (
        _layout(
            "SAN, EBSeg", f"{san}/{split}/image", f"{san}/{split}/label", ignore_labels=ignored
        ),
        _layout("FC-CLIP", f"pascal_ctx_d2/images/{fc_clip}", labels, ignore_labels=ignored),
    )


def voc_20(split: str) -> tuple[Layout, ...]:
    """VOC without background."""
    labels = f"VOC2012/annotations_detectron2/{split}"
    san = _layout("SAN, EBSeg", "VOC2012/JPEGImages", labels, labels_select=True)
    return (san, _fc_clip_voc(split, "annotations_pascal20"))


def voc_21(split: str, label_ids: tuple[int, ...] | None = None) -> tuple[Layout, ...]:
    """VOC with the background as id 0, unless `label_ids` says what the ids stand for."""
    return (_fc_clip_voc(split, "annotations_pascal21", label_ids=label_ids),)


def _fc_clip_voc(split: str, labels: str, **more: Any) -> Layout:
    folder = _FC_CLIP_SPLIT[split]
    images = f"pascal_voc_d2/images/{folder}"
    return _layout("FC-CLIP", images, f"pascal_voc_d2/{labels}/{folder}", **more)


def cityscapes(split: str) -> tuple[Layout, ...]:
    """What cityscapesScripts' createTrainIdLabelImgs writes beside the raw label maps."""
    return (
        _layout(
            "FC-CLIP, Detectron2",
            f"cityscapes/leftImg8bit/{split}",
            f"cityscapes/gtFine/{split}",
            nested=True,
            image_ending="_leftImg8bit",
            label_ending="_gtFine_labelTrainIds",
        ),
    )
