"""From an image and names to a label map."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from PIL import Image

from stseg.checkpoint import check_weights, load_for_evaluation, spare_encoder_files
from stseg.config import setup_cfg, usable_device
from stseg.data import build_augmentations, read_image, to_rgb
from stseg.modeling import build_model
from stseg.modeling.scores import LabelMap, label_maps
from stseg.structures import IGNORE_LABEL, Background, Segmentation, Vocabulary, VocabularyLike

ImageLike = np.ndarray | Image.Image | str | os.PathLike[str]


class Predictor:
    """Segments images with any vocabulary.

    Example:
        >>> predictor = Predictor("configs/mini/stseg_mini.yaml")
        >>> result = predictor("photo.jpg", "cat, kitten; dog; grass")
        >>> result.names[result.label_map[0, 0]]
        >>> result.save("output", "photo")
    """

    def __init__(
        self,
        config_file_or_cfg: str | os.PathLike[str] | CfgNode,
        weights: str | None = None,
        device: str | None = None,
    ) -> None:
        """Build the model and load its weights.

        Args:
            config_file_or_cfg: YAML file, or a config that has stseg's keys. It is not changed.
            weights: checkpoint instead of MODEL.WEIGHTS; "random" leaves the start values, whose
                answers mean nothing.
            device: such as "cpu", instead of MODEL.DEVICE. The CPU is used where it is missing.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if there are no weights, or they do not fit the model as configured.
        """
        if isinstance(config_file_or_cfg, CfgNode):
            cfg = config_file_or_cfg.clone()
            cfg.defrost()
            cfg.MODEL.DEVICE = usable_device(device or cfg.MODEL.DEVICE)
        else:
            cfg = setup_cfg(config_file_or_cfg, device=device)
            cfg.defrost()
        if weights is not None:
            cfg.MODEL.WEIGHTS = weights
        cfg.freeze()
        self.cfg = cfg
        check_weights(cfg.MODEL.WEIGHTS)
        self.model = build_model(spare_encoder_files(cfg))
        self.model.eval()
        load_for_evaluation(self.model, cfg.MODEL.WEIGHTS)
        self._augmentation = T.AugmentationList(build_augmentations(cfg, is_train=False))

    @overload
    def __call__(self, image: ImageLike, vocabulary: VocabularyLike) -> Segmentation: ...

    @overload
    def __call__(
        self, image: Sequence[ImageLike], vocabulary: VocabularyLike
    ) -> list[Segmentation]: ...

    def __call__(
        self, image: ImageLike | Sequence[ImageLike], vocabulary: VocabularyLike
    ) -> Segmentation | list[Segmentation]:
        """Segment one image, or several of any sizes in one batch.

        Args:
            image: (H, W, 3) uint8 RGB array, Pillow image or path; or a list of these.
            vocabulary: what `Vocabulary.parse` takes; carries the background policy.

        Returns:
            A Segmentation of the image's own size; for a list, a list in its order.
        """
        if isinstance(image, (list, tuple)):
            return self.predict_batch(image, vocabulary)
        return self.predict_batch([image], vocabulary)[0]

    def predict_batch(
        self, images: Sequence[ImageLike], vocabulary: VocabularyLike
    ) -> list[Segmentation]:
        """Segment a list of images in one batch; see `__call__`."""
        wanted = Vocabulary.parse(vocabulary)
        asked = with_distractors(wanted)
        inputs = [self._model_input(image_array(image), asked) for image in images]
        if not inputs:
            return []
        with torch.inference_mode():
            return [decide(found, wanted) for found in label_maps(self.model, inputs)]

    def _model_input(self, image: np.ndarray, vocabulary: Vocabulary) -> dict[str, Any]:
        """What the test mapper makes of a file, without the file."""
        aug_input = T.AugInput(image)
        self._augmentation(aug_input)
        pixels = np.ascontiguousarray(aug_input.image.transpose(2, 0, 1))
        return {
            "image": torch.as_tensor(pixels),
            "height": image.shape[0],
            "width": image.shape[1],
            "vocabulary": vocabulary,
        }


def image_array(image: ImageLike) -> np.ndarray:
    """The picture as people see it.

    Returns:
        (H, W, 3) uint8 RGB: EXIF orientation applied, transparent parts on white, 16 bits to 8.

    Raises:
        ValueError: for an array of another shape or type.
        OSError: for a file that is missing or cannot be decoded; names it.
    """
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, (str, os.PathLike)):
        return read_image(Path(image))
    if not isinstance(image, np.ndarray):
        raise TypeError(f"Image: expected an array, a Pillow image or a path, got {type(image)}.")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(
            f"Image: expected an RGB array (H, W, 3) of uint8 in [0, 255], got {image.shape} of "
            f"{image.dtype}. Convert it; for several images give a list."
        )
    return image


def with_distractors(vocabulary: Vocabulary) -> Vocabulary:
    """The classes followed by the distractor names of the background policy, each a class."""
    extra = vocabulary.background.names
    if not extra:
        return vocabulary
    seen = vocabulary.seen
    return replace(
        vocabulary,
        names=vocabulary.names + extra,
        synonyms=vocabulary.synonyms + tuple((name,) for name in extra),
        seen=None if seen is None else seen + (False,) * len(extra),
        background=Background(),
    )


def decide(found: LabelMap, vocabulary: Vocabulary) -> Segmentation:
    """One label and one confidence per pixel, under the vocabulary's background policy.

    Args:
        found: the most probable of the classes and, after them, of the distractors.
        vocabulary: of the classes alone.

    Raises:
        FloatingPointError: if the model gave values that are not finite.
    """
    confidence, labels = found.confidence, found.labels
    if not bool(torch.isfinite(confidence).all()):
        raise FloatingPointError(
            "Prediction: expected finite probabilities, got NaN or infinity from the model. "
            "Check MODEL.WEIGHTS, and the precision if it is not float32."
        )
    unknown = labels >= len(vocabulary)
    if vocabulary.background.policy == "threshold":
        unknown |= confidence < vocabulary.background.value
    labels = labels.masked_fill(unknown, IGNORE_LABEL)
    return Segmentation(
        label_map=labels.cpu().numpy(),
        confidence=confidence.clamp(0, 1).cpu().numpy(),
        names=vocabulary.names,
    )
