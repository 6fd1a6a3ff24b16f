"""The mapper for pairs of image and caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.config import configurable
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform

from stseg.config import check
from stseg.data.augmentation import build_augmentations
from stseg.data.image_io import read_image
from stseg.data.mappers import MAPPER_REGISTRY, image_tensor
from stseg.data.opening import PackedImage


@MAPPER_REGISTRY.register()
class STSegCaptionMapper:
    """Decodes and augments the image; the caption stays as it is.

    A model input holds "image" (3, H, W) uint8 RGB in [0, 255]; "caption", a text; "height" and
    "width", the size of the file in pixels; "file_name". It holds no vocabulary: captions have no
    classes.
    """

    @configurable
    def __init__(self, *, augmentations: Sequence[T.Augmentation | Transform]) -> None:
        """Build by hand.

        Args:
            augmentations: applied in order; none may ask for labels.
        """
        self.augmentations = T.AugmentationList(list(augmentations))

    @classmethod
    def from_config(cls, cfg: Any, is_train: bool, dataset_names: Sequence[str]) -> dict[str, Any]:
        """Augmentations from INPUT.*.

        Raises:
            ValueError: names the key that asks for labels.
        """
        check("INPUT.FORMAT", cfg.INPUT.FORMAT)
        crop = cfg.INPUT.CROP
        if crop.ENABLED and crop.TYPE == "absolute" and crop.SINGLE_CATEGORY_MAX_AREA < 1:
            raise ValueError(
                "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA: expected 1.0 for captions, which have no "
                f"classes, got {crop.SINGLE_CATEGORY_MAX_AREA}. Or set INPUT.CROP.TYPE 'resized'."
            )
        return {"augmentations": build_augmentations(cfg, is_train)}

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Turn a record of `PairIndex` into a model input.

        Args:
            record: "file_name", "caption", and "image_bytes" where the image is not that file.
                Left unchanged.

        Raises:
            BrokenFileError: if the image cannot be decoded.
            FileNotFoundError: if it is gone.
        """
        item = dict(record)
        name, content = item["file_name"], item.pop("image_bytes", None)
        image = read_image(name if content is None else PackedImage(name, content))
        item["height"], item["width"] = image.shape[:2]
        inputs = T.AugInput(image)
        self.augmentations(inputs)
        item["image"] = image_tensor(inputs.image)
        return item
