"""Mappers: from a data set record to a model input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import transforms as T
from fvcore.common.registry import Registry
from fvcore.transforms.transform import Transform

from stseg.config import check
from stseg.data.augmentation import build_augmentations, geometric_part
from stseg.data.datasets import dataset_label_coding, dataset_vocabulary
from stseg.data.image_io import read_label, read_turned
from stseg.data.label_coding import LabelCoding
from stseg.data.opening import tell_once
from stseg.data.pixel_values import labels_may_be_turned, swaps_sides
from stseg.structures import IGNORE_LABEL, Vocabulary

_INT16_CLASSES = 2**15

#: Key of a record whose label map is coded otherwise than the mapper's data set.
CODING_KEY = "label_coding"

MAPPER_REGISTRY = Registry("MAPPER")
MAPPER_REGISTRY.__doc__ = """
Mappers, chosen by INPUT.MAPPER_NAME, and for captions by INPUT.CAPTION_MAPPER_NAME.

The registered object is called with `obj(cfg, is_train, dataset_names)`, where the data sets
share one vocabulary or have captions, and must return a callable from a record to a model input
(both dicts).
"""


@MAPPER_REGISTRY.register()
class STSegSemanticMapper:
    """Reads image and label map, augments both, and attaches the vocabulary.

    A model input holds "image" (3, H, W) uint8 RGB in [0, 255]; "height" and "width", the size
    of the file in pixels; "file_name", "sem_seg_file_name"; "vocabulary"; and in training
    "sem_seg" (H, W) int64, class ids or IGNORE_LABEL, of the image's size. For testing the label
    map is not read: evaluators read it at full size. Where a record names a map of weights in
    "sem_seg_weight_file_name", 8 bits for [0, 1], there is "sem_seg_weight" (H, W) float32, too.

    With `weak_view` it also holds "weak_image", the same pixels as "image" without the change of
    colours, and "inside" (H, W) bool, False where padding lies.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[T.Augmentation | Transform],
        vocabulary: Vocabulary,
        ignore_labels: Sequence[int] = (255,),
        label_ids: Sequence[int] | None = None,
        label_coding: LabelCoding | None = None,
        translation: np.ndarray | None = None,
        weak_view: bool = False,
        allow_unlabelled: bool = False,
    ) -> None:
        """Build by hand.

        Args:
            is_train: read labels and return "sem_seg".
            augmentations: applied in order to image and label map together.
            vocabulary: handed on in every input; its length bounds the label ids.
            ignore_labels: ids in the label files that become IGNORE_LABEL.
            label_ids: class of every id in the label files, see `read_label`; None for ids that
                are classes.
            label_coding: what the values in the label files mean, instead of the two above.
            translation: (T_files,) ids in `vocabulary`, or IGNORE_LABEL, of the T_files classes
                of the label files, see `stseg.data.mixing.label_translation`; None where they
                are those of `vocabulary`.
            weak_view: return "weak_image" and "inside", too.
            allow_unlabelled: records without a label map are for training, too, and give no
                "sem_seg".
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(list(augmentations))
        self.vocabulary = vocabulary
        # One more entry, so that index IGNORE_LABEL, the last one, stays what it is.
        self.translation = None if translation is None else np.append(translation, IGNORE_LABEL)
        self.weak_view, self.allow_unlabelled = weak_view, allow_unlabelled
        classes = len(vocabulary if translation is None else translation)
        ids = None if label_ids is None else tuple(label_ids)
        self.coding = label_coding or LabelCoding(classes, tuple(ignore_labels), ids)

    @classmethod
    def from_config(cls, cfg: Any, is_train: bool, dataset_names: Sequence[str]) -> dict[str, Any]:
        """Augmentations from INPUT.*; vocabulary and coding from the data sets' metadata."""
        check("INPUT.FORMAT", cfg.INPUT.FORMAT)
        codings = {name: dataset_label_coding(name) for name in dataset_names}
        if len({coding.meaning for coding in codings.values()}) > 1:
            raise ValueError(
                f"DATASETS.TRAIN: expected label files of one order of ids, got "
                f"{', '.join(codings)}, which differ in it. Prepare them in one layout, see "
                "datasets/README.md."
            )
        ignored = {label for coding in codings.values() for label in coding.ignore}
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "vocabulary": dataset_vocabulary(dataset_names[0]),
            "label_coding": replace(codings[dataset_names[0]], ignore=tuple(sorted(ignored))),
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Turn a record into a model input.

        Args:
            record: "file_name" and, for training, "sem_seg_file_name" and optionally
                "sem_seg_weight_file_name"; CODING_KEY where its label map is coded in a way of its
                own. Left unchanged.

        Raises:
            BrokenFileError: if a file cannot be decoded.
            ValueError: if the label map is missing, it or the map of weights is of another size, or
                it holds an unknown id.
        """
        item = dict(record)
        coding = item.pop(CODING_KEY, self.coding)
        image, turn = read_turned(item["file_name"])
        if item.get("sem_seg_file_name") and labels_may_be_turned(turn, image.shape[:2]):
            tell_once(
                "labels of turned images",
                f"Image {item['file_name']}: EXIF turns or mirrors it, and its size does not tell "
                "whether its label map was drawn on what people see, as is expected. Look at it "
                "with `stseg data show`; others like it are not told.",
            )
        item["height"], item["width"] = image.shape[:2]
        item["vocabulary"] = self.vocabulary
        unlabelled = self.allow_unlabelled and item.get("sem_seg_file_name") is None
        label = None
        if self.is_train:
            label = _no_label(image) if unlabelled else self._read_label(item, coding, turn)
        inputs = T.AugInput(image, sem_seg=label)
        applied = self.augmentations(inputs)
        item["image"] = image_tensor(inputs.image)
        if label is not None and not unlabelled:
            item["sem_seg"] = torch.from_numpy(inputs.sem_seg.astype(np.int64, order="C"))
            if path := item.get("sem_seg_weight_file_name"):
                weights = geometric_part(applied).apply_segmentation(_read_weights(path, item))
                item["sem_seg_weight"] = torch.from_numpy(_shares(weights))
        if self.weak_view:
            weak = geometric_part(applied)
            item["weak_image"] = image_tensor(weak.apply_image(image))
            inside = weak.apply_segmentation(np.zeros(image.shape[:2], np.int64)) != IGNORE_LABEL
            item["inside"] = torch.from_numpy(np.ascontiguousarray(inside))
        return item

    def _read_label(self, item: dict[str, Any], coding: LabelCoding, turn: int) -> np.ndarray:
        path = item.get("sem_seg_file_name")
        if path is None:
            raise ValueError(
                f"Image {item['file_name']}: expected a label map for training, got none. "
                "Give the data set a label folder, or leave it out of DATASETS.TRAIN."
            )
        # Augmentations move four times fewer bytes than of int64.
        classes = max(coding.num_classes, len(self.vocabulary))
        dtype = np.int16 if classes <= _INT16_CLASSES else np.int32
        label = coding.read(path, dtype)
        if label.shape != (item["height"], item["width"]):
            cure = "Prepare the label maps again, or give the images that they were drawn on."
            if swaps_sides(turn) and label.shape == (item["width"], item["height"]):
                cure = (
                    "It was drawn on the image before its EXIF rotation: turn it likewise, or save "
                    "the image without EXIF rotation."
                )
            raise ValueError(
                f"Label map {path}: expected the size of its image {item['file_name']}, "
                f"{item['width']}x{item['height']}, got {label.shape[1]}x{label.shape[0]} (width x "
                f"height). {cure}"
            )
        return label if self.translation is None else self.translation[label].astype(dtype)


def _read_weights(path: str, item: dict[str, Any]) -> np.ndarray:
    """(H, W) int16 in [0, 255]."""
    weights = read_label(path, 256, (), dtype=np.int16)
    if weights.shape != (item["height"], item["width"]):
        raise ValueError(
            f"Weights {path}: expected the size of their image {item['file_name']}, "
            f"{item['width']}x{item['height']}, got {weights.shape[1]}x{weights.shape[0]} (width x "
            "height). Remove the folder; it is made anew."
        )
    return weights


def _shares(weights: np.ndarray) -> np.ndarray:
    """(H, W) float32 in [0, 1]; 1 in padding."""
    return np.where(weights == IGNORE_LABEL, 1.0, weights / 255).astype(np.float32)


def _no_label(image: np.ndarray) -> np.ndarray:
    """(H, W) int16 of no class, for crops that look at the labels."""
    return np.full(image.shape[:2], IGNORE_LABEL, dtype=np.int16)


def image_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) to (3, H, W). Flips and crops are views with odd strides, which torch refuses."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
