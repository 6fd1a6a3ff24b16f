"""Augmentations of training and testing, in SED's order.

Training: shortest edge, crop, colour, flip, padding; a part of any size that is resized takes the
place of shortest edge, crop and padding. Testing: shortest edge. All randomness is drawn from the
global generators of NumPy and Python, as Detectron2's own augmentations do, and of torch; the
loader seeds them for every sample (`stseg.data.sampling`).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.projects.point_rend import ColorAugSSDTransform
from fvcore.transforms.transform import NoOpTransform, PadTransform, Transform

from stseg.config import check
from stseg.structures import IGNORE_LABEL

IMAGE_PAD_VALUE = 128


class ExactResizeTransform(T.ResizeTransform):
    """Resize that keeps label maps of any integer type and aligned with the image.

    Detectron2 resizes maps other than uint8 through torch's "nearest", which takes no integers
    and samples the upper left corner of each cell, half a cell away from where Pillow puts the
    image.
    """

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Nearest neighbour at cell centres; (H, W) integers in, the same type out."""
        rows, columns = _nearest(self.h, self.new_h), _nearest(self.w, self.new_w)
        return segmentation.take(rows, axis=0).take(columns, axis=1)


def _nearest(old: int, new: int) -> np.ndarray:
    """Cells of an axis that Pillow takes, (new,) in [0, old).

    OpenCV 5 has the same as INTER_NEAREST_EXACT; OpenCV 4, the last for NumPy 1, takes others.
    """
    steps = np.full(new, old / new)
    steps[0] /= 2
    # Summed up one after the other, as Pillow does: at ties the last bit decides.
    return np.minimum(np.cumsum(steps).astype(np.intp), old - 1)


class ExactResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's ResizeShortestEdge (Pillow bilinear for images) with exact label maps."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose a size for an (H, W, 3) image."""
        resize = super().get_transform(image)
        if isinstance(resize, NoOpTransform):
            return resize
        # The limit on the longer side may leave nothing of the shorter one.
        height, width = max(resize.new_h, 1), max(resize.new_w, 1)
        return ExactResizeTransform(resize.h, resize.w, height, width, resize.interp)


class RandomResizedCrop(T.Augmentation):
    """A random part of the image, resized: Inception's crop (Szegedy et al., CVPR 2015).

    torchvision draws the part, with sides as 3:4 to 4:3; Pillow resizes it, bilinear.
    """

    def __init__(self, size: tuple[int, int], scale: tuple[float, float]) -> None:
        """Args: size: (height, width) in pixels; scale: least and largest share of the area."""
        super().__init__()
        self.size, self.scale = size, scale

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw a part of an (H, W, 3) image."""
        from torchvision.transforms import RandomResizedCrop as Drawn  # seconds to import

        sized = torch.empty(3, *image.shape[:2], device="meta")
        top, left, height, width = Drawn.get_params(sized, list(self.scale), [3 / 4, 4 / 3])
        cut = T.CropTransform(left, top, width, height)
        return T.TransformList([cut, ExactResizeTransform(height, width, *self.size)])


class QuickColorAugSSDTransform(ColorAugSSDTransform):
    """Detectron2's change of colours, to the same bits.

    Quicker by tables of the 256 values, and because channels are reordered without leaving them
    apart in memory.
    """

    def __init__(self) -> None:
        super().__init__(img_format="BGR")

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB in and out."""
        changed = super().apply_image(cv2.cvtColor(img, cv2.COLOR_RGB2BGR))
        return cv2.cvtColor(changed, cv2.COLOR_BGR2RGB)

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        """Scale by `alpha` and add `beta`; (H, W) or (H, W, 3) uint8 in and out."""
        return cv2.LUT(img, super().convert(np.arange(256, dtype=np.uint8), alpha, beta))


class PadToSize(T.Augmentation):
    """Pad at the right and the bottom up to a size; larger images stay as they are."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Args: size: (height, width) in pixels."""
        super().__init__()
        self.size = size

    def get_transform(self, image: np.ndarray) -> Transform:
        """Padding for an (H, W, 3) image: 128 in the image, IGNORE_LABEL in the labels."""
        height, width = image.shape[:2]
        right, bottom = max(self.size[1] - width, 0), max(self.size[0] - height, 0)
        if not right and not bottom:
            return NoOpTransform()
        return PadTransform(
            0,
            0,
            right,
            bottom,
            width,
            height,
            pad_value=IMAGE_PAD_VALUE,
            seg_pad_value=IGNORE_LABEL,
        )


class RandomBlur(T.Augmentation):
    """Gaussian blur of every second image, as strong views have it (UniMatch, CVPR 2023)."""

    def __init__(self, max_sigma: float) -> None:
        """Args: max_sigma: in pixels; sigma is drawn from [0.1, max_sigma]."""
        super().__init__()
        self.max_sigma = max_sigma

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw whether, and how far."""
        if self._rand_range() < 0.5:
            return NoOpTransform()
        sigma = float(self._rand_range(0.1, max(self.max_sigma, 0.1)))
        return T.ColorTransform(lambda pixels: cv2.GaussianBlur(pixels, (0, 0), sigma))


class RandomNoise(T.Augmentation):
    """Gaussian noise on every second image."""

    def __init__(self, max_std: float) -> None:
        """Args: max_std: in grey levels of 0 to 255; the deviation is drawn from [0, max_std]."""
        super().__init__()
        self.max_std = max_std

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw whether, how much, and the noise itself."""
        if self._rand_range() < 0.5:
            return NoOpTransform()
        noise = np.random.normal(0.0, float(self._rand_range(0.0, self.max_std)), image.shape)
        return T.ColorTransform(
            lambda pixels: np.rint(pixels + noise).clip(0, 255).astype(pixels.dtype)
        )


def geometric_part(transforms: T.TransformList) -> T.TransformList:
    """What an applied augmentation did to the places of pixels, without what it did to colours.

    Applying it draws no random numbers.
    """
    photometric = (ColorAugSSDTransform, T.ColorTransform)
    return T.TransformList([t for t in transforms.transforms if not isinstance(t, photometric)])


_Steps = list[T.Augmentation | Transform]


def build_augmentations(cfg: Any, is_train: bool) -> _Steps:
    """Augmentations that INPUT.* asks for.

    Raises:
        ValueError: names the key for a crop of another type, not positive or not two whole
            numbers, and for shares outside (0, 1].
    """
    if not is_train:
        return [
            ExactResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")
            if cfg.INPUT.MIN_SIZE_TEST
            else T.NoOpTransform()
        ]
    augmentations, padding = _shapes(cfg)
    if cfg.INPUT.COLOR_AUG_SSD:
        augmentations.append(QuickColorAugSSDTransform())
    if cfg.INPUT.BLUR_SIGMA > 0:
        augmentations.append(RandomBlur(cfg.INPUT.BLUR_SIGMA))
    if cfg.INPUT.NOISE_STD > 0:
        augmentations.append(RandomNoise(cfg.INPUT.NOISE_STD))
    flip = check("INPUT.RANDOM_FLIP", cfg.INPUT.RANDOM_FLIP)
    if flip != "none":
        augmentations.append(
            T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical")
        )
    return augmentations + padding


def _shapes(cfg: Any) -> tuple[_Steps, _Steps]:
    """What gives training images their size: what comes first, and what comes last."""
    crop = cfg.INPUT.CROP
    edge = ExactResizeShortestEdge(
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    )
    if not crop.ENABLED:
        return [edge], []
    for key in ("TYPE", "SIZE", "SCALE", "SINGLE_CATEGORY_MAX_AREA"):
        check(f"INPUT.CROP.{key}", crop[key])
    size = int(crop.SIZE[0]), int(crop.SIZE[1])
    if crop.TYPE == "resized":
        return [RandomResizedCrop(size, (crop.SCALE[0], crop.SCALE[1]))], []
    cut = T.RandomCrop_CategoryAreaConstraint(
        "absolute", size, crop.SINGLE_CATEGORY_MAX_AREA, ignored_category=IGNORE_LABEL
    )
    return [edge, cut], [PadToSize(size)]
