"""From an image and names to a label map."""

import glob
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from PIL import Image

from stseg.checkpoint import (
    check_weights,
    load_for_evaluation,
    spare_encoder_files,
    weights_file,
)
from stseg.config import setup_cfg, unread_changes, usable_device
from stseg.data import build_augmentations, find_media, is_video, read_image, to_rgb
from stseg.modeling import build_model
from stseg.modeling.meta_arch import EncodedImage
from stseg.modeling.scores import LabelMap, label_maps
from stseg.modeling.text import KnownWords
from stseg.structures import IGNORE_LABEL, Background, Segmentation, Vocabulary, VocabularyLike
from stseg.utils import ASSETS
from stseg.weights import find

logger = logging.getLogger(__name__)

ImageLike = np.ndarray | Image.Image | str | os.PathLike[str]

#: Weights that ship, and what is to be known of them.
_SHIPPED = {
    ASSETS / "small_world": "These are the miniature's weights: they know the drawn scenes of the "
    "small world, and of photographs nothing. `stseg weights list` has others.",
    ASSETS / "photos": "These weights know the nouns of ImageNet, from whole pictures: they find "
    "things roughly where they are, without outlines, and hardly any stuff. `stseg weights list` "
    "has better ones.",
}

#: Of features that `set_image` keeps; where windows need more, the rest is encoded anew.
KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class KeptImage:
    """An image that words are asked about, see `Predictor.keep_image`.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        item: the model's input.
        encoded: features, where the model has any.
    """

    image: np.ndarray
    item: dict[str, Any]
    encoded: EncodedImage | None


class Predictor:
    """Segments images with any vocabulary.

    Example:
        >>> predictor = Predictor("configs/mini/stseg_mini.yaml")
        >>> result = predictor("photo.jpg", "cat, kitten; dog; grass")
        >>> result.names[result.label_map[0, 0]]
        >>> result.save("output", "photo")
        >>> predictor.set_image("photo.jpg")  # other words on one picture cost less
        >>> results = [predictor.predict(words) for words in ("cat; dog", "animal; plant")]
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
        for line in unread_changes(cfg):
            logger.warning(line)
        self.cfg = cfg
        check_weights(cfg.MODEL.WEIGHTS)
        self.model = build_model(spare_encoder_files(cfg))
        self.model.eval()
        load_for_evaluation(self.model, cfg.MODEL.WEIGHTS)
        for folder, warning in _SHIPPED.items():
            if Path(weights_file(cfg.MODEL.WEIGHTS)).is_relative_to(folder):
                logger.warning(warning)
        self._known_words = KnownWords.of(cfg.MODEL.CLIP.PRETRAINED)
        self._augmentation = T.AugmentationList(build_augmentations(cfg, is_train=False))
        self._current: KeptImage | None = None
        self._told: set[str] = set()

    @classmethod
    def from_pretrained(cls, name: str, device: str | None = None) -> "Predictor":
        """A published system with the config that it fits, fetched where it is not here yet.

        Args:
            name: of `stseg weights list`, such as "sed-convnextB" or "stseg-mini".
            device: as in the constructor.

        Raises:
            ValueError: if there is no such name, if it is none of a whole system that is built
                here, or if the file is another than it should be.
            OSError: if the file cannot be fetched; says what to put where.
        """
        return cls(find(name).config_file(), weights=f"weights://{name}", device=device)

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
            image: uint8 array, (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey; Pillow image; path of
                an image; or a list of these. Also a folder of images, or a pattern such as
                "photos/*.jpg": then one after the other, in the order of their names.
            vocabulary: what `Vocabulary.parse` takes; carries the background policy.

        Returns:
            A Segmentation of the image's own size, which keeps the image; for a list, a folder or a
            pattern, a list.
        """
        if isinstance(image, (list, tuple)):
            return self.predict_batch(image, vocabulary)
        if isinstance(image, (str, os.PathLike)) and _stands_for_several(image):
            return [self(path, vocabulary) for path in _pictures(image)]
        return self.predict_batch([image], vocabulary)[0]

    def predict_batch(
        self, images: Sequence[ImageLike], vocabulary: VocabularyLike
    ) -> list[Segmentation]:
        """Segment a list of images in one batch; see `__call__`."""
        wanted = self._parsed(vocabulary)
        asked = with_distractors(wanted)
        pictures = [image_array(image) for image in images]
        if not pictures:
            return []
        inputs = [self._model_input(picture, asked) for picture in pictures]
        with torch.inference_mode():
            found = zip(label_maps(self.model, inputs), pictures, strict=True)
            return [decide(maps, wanted, picture) for maps, picture in found]

    def set_image(self, image: ImageLike) -> None:
        """Look at one image, to be asked about with `predict`: its encoders run here, once.

        Args:
            image: one image as `__call__` takes it.
        """
        self._current = self.keep_image(image)

    def keep_image(self, image: ImageLike, kept_bytes: int = KEPT_BYTES) -> KeptImage:
        """What `set_image` makes, for those who keep several: `predict(words, kept)` asks about it.

        Args:
            image: one image as `__call__` takes it.
            kept_bytes: of features of windows; where they need more, the rest is encoded anew.
        """
        picture = image_array(image)
        item, encoded = self._model_input(picture), None
        if hasattr(self.model, "encoded"):
            with torch.inference_mode():
                encoded = self.model.encoded(item["image"], kept_bytes)
                if self.model.tiles is None:
                    encoded.features()  # those of windows, when they are first asked for
        return KeptImage(picture, item, encoded)

    def predict(self, vocabulary: VocabularyLike, kept: KeptImage | None = None) -> Segmentation:
        """What `__call__` gives for the image of `set_image`.

        Args:
            vocabulary: as in `__call__`.
            kept: another image, of `keep_image`.

        Raises:
            ValueError: if there is none yet.
        """
        current = self._current if kept is None else kept
        if current is None:
            raise ValueError(
                "Predictor.predict: expected an image, got none. Call set_image first."
            )
        wanted = self._parsed(vocabulary)
        asked, item, image = with_distractors(wanted), current.item, current.image
        with torch.inference_mode():
            if current.encoded is None:
                (found,) = label_maps(self.model, [{**item, "vocabulary": asked}])
                return decide(found, wanted, image)
            embeddings = self.model.embed(asked)
            scores = self.model.scores_of(current.encoded, embeddings, asked)
            found = self.model.best(scores.at((item["height"], item["width"])))
            return decide(found, wanted, image)

    def prepare(self, vocabulary: VocabularyLike) -> None:
        """Embed names before there is an image; they are kept for the images to come.

        Raises:
            ValueError: if the names are faulty, or two are alike as far as the model reads them.
        """
        asked = with_distractors(self._parsed(vocabulary))
        if hasattr(self.model, "embed"):
            with torch.inference_mode():
                self.model.embed(asked)

    def notes(self, vocabulary: Vocabulary) -> list[str]:
        """What is legal but most likely not meant, a sentence each, and words that say nothing.

        Only weights that come with a list of the words they know are asked about these; names
        that training had masks of are known, too.
        """
        found = vocabulary.notes()
        if self._known_words is None:
            return found
        learnt = {name for group in self.model.facts.trained_on for name in group}
        names = [
            name for group in vocabulary.synonyms if learnt.isdisjoint(group) for name in group
        ]
        names += [name for name in vocabulary.background.names if name not in learnt]
        return found + self._known_words.notes(names, self.model.text_encoder.encode_prompts)

    def _parsed(self, source: VocabularyLike) -> Vocabulary:
        """The names; what they probably do not mean is said once, but of no Vocabulary given."""
        vocabulary = Vocabulary.parse(source)
        if not isinstance(source, Vocabulary) and vocabulary.key not in self._told:
            self._told.add(vocabulary.key)
            for note in self.notes(vocabulary):
                logger.warning("Vocabulary: %s", note)
        return vocabulary

    def _model_input(
        self, image: np.ndarray, vocabulary: Vocabulary | None = None
    ) -> dict[str, Any]:
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


def _stands_for_several(path: str | os.PathLike[str]) -> bool:
    return Path(path).is_dir() or (not Path(path).is_file() and glob.has_magic(os.fspath(path)))


def _pictures(where: str | os.PathLike[str]) -> list[Path]:
    """The images of a folder or a pattern, in the order of their names."""
    found = [path for path in find_media([os.fspath(where)], "Images") if not is_video(path)]
    if not found:
        raise FileNotFoundError(
            f"Images: expected images, got {os.fspath(where)!r}, where only videos were found. "
            "demo/demo.py segments these."
        )
    return found


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
    channels = {2: 1, 3: image.shape[-1]}.get(image.ndim)
    if channels not in (1, 3, 4) or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(
            "Image: expected an array (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey of uint8 in "
            f"[0, 255], got {image.shape} of {image.dtype}. Convert it; for several images give a "
            "list."
        )
    if channels == 3:
        return image
    return to_rgb(Image.fromarray(image.reshape(image.shape[:2]) if channels == 1 else image))


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


def decide(
    found: LabelMap, vocabulary: Vocabulary, image: np.ndarray | None = None
) -> Segmentation:
    """One label and one confidence per pixel, under the vocabulary's background policy.

    Args:
        found: the most probable of the classes and, after them, of the distractors; changed.
        vocabulary: of the classes alone.
        image: (H, W, 3) uint8 RGB, for pictures of the answer.

    Raises:
        FloatingPointError: if the model gave values that are not finite.
    """
    confidence, labels = found.confidence, found.labels
    if not bool(torch.isfinite(torch.stack(confidence.aminmax())).all()):
        raise FloatingPointError(
            "Prediction: expected finite probabilities, got NaN or infinity from the model. "
            "Check MODEL.WEIGHTS, and the precision if it is not float32."
        )
    unknown = labels >= len(vocabulary)
    if vocabulary.background.policy == "threshold":
        unknown |= confidence < vocabulary.background.value
    # `found` is done with: a picture of 100 megapixels has no room for copies.
    return Segmentation(
        label_map=labels.masked_fill_(unknown, IGNORE_LABEL).cpu().numpy(),
        confidence=confidence.clamp_(0, 1).cpu().numpy(),
        names=vocabulary.names,
        image=image,
    )
