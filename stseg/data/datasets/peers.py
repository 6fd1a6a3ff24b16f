"""Where SAN, EBSeg and FC-CLIP keep the benchmarks, unless it is where SED and CAT-Seg do."""

from __future__ import annotations

from stseg.data.datasets.layouts import Layout

#: A split's folder as FC-CLIP calls it.
_FC_CLIP_SPLIT = {"train": "training", "val": "validation"}


def coco_stuff(split: str, labels: str) -> tuple[Layout, ...]:
    """Maps of a split; their scripts write none for an image without any class."""
    return (
        Layout(
            convention="EBSeg",
            image_dir=f"coco-stuff/images/{split}",
            label_dir=f"coco-stuff/stuffthingmaps_detectron2/{labels}",
            ignore_labels=(255,),
            labels_select=True,
        ),
        Layout(
            convention="SAN, FC-CLIP",
            image_dir=f"coco/{split}",
            label_dir=f"coco/stuffthingmaps_detectron2/{labels}",
            ignore_labels=(255,),
            labels_select=True,
        ),
    )


def context(classes: int, split: str) -> tuple[Layout, ...]:
    """PASCAL-Context of 59 or 459 classes."""
    san, fc_clip = "pcontext" if classes == 59 else "pcontext_full", _FC_CLIP_SPLIT[split]
    ignored = (255,) if classes == 59 else (65535,)
    return (
        Layout(
            convention="SAN, EBSeg",
            image_dir=f"{san}/{split}/image",
            label_dir=f"{san}/{split}/label",
            ignore_labels=ignored,
        ),
        Layout(
            convention="FC-CLIP",
            image_dir=f"pascal_ctx_d2/images/{fc_clip}",
            label_dir=f"pascal_ctx_d2/annotations_ctx{classes}/{fc_clip}",
            ignore_labels=ignored,
        ),
    )


def voc_20(split: str) -> tuple[Layout, ...]:
    """VOC without background."""
    return (
        Layout(
            convention="SAN, EBSeg",
            image_dir="VOC2012/JPEGImages",
            label_dir=f"VOC2012/annotations_detectron2/{split}",
            ignore_labels=(255,),
            labels_select=True,
        ),
        Layout(
            convention="FC-CLIP",
            image_dir=f"pascal_voc_d2/images/{_FC_CLIP_SPLIT[split]}",
            label_dir=f"pascal_voc_d2/annotations_pascal20/{_FC_CLIP_SPLIT[split]}",
            ignore_labels=(255,),
        ),
    )


def voc_21(split: str, label_ids: tuple[int, ...] | None = None) -> tuple[Layout, ...]:
    """VOC with the background as id 0, unless `label_ids` says what the ids stand for."""
    return (
        Layout(
            convention="FC-CLIP",
            image_dir=f"pascal_voc_d2/images/{_FC_CLIP_SPLIT[split]}",
            label_dir=f"pascal_voc_d2/annotations_pascal21/{_FC_CLIP_SPLIT[split]}",
            ignore_labels=(255,),
            label_ids=label_ids,
        ),
    )


def cityscapes(split: str) -> tuple[Layout, ...]:
    """What cityscapesScripts' createTrainIdLabelImgs writes beside the raw label maps."""
    return (
        Layout(
            convention="FC-CLIP, Detectron2",
            image_dir=f"cityscapes/leftImg8bit/{split}",
            label_dir=f"cityscapes/gtFine/{split}",
            ignore_labels=(255,),
            nested=True,
            image_ending="_leftImg8bit",
            label_ending="_gtFine_labelTrainIds",
        ),
    )
