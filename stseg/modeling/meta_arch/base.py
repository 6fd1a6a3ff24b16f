"""What every open-vocabulary segmentor here shares: batches in, losses or probabilities out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stseg.config import check
from stseg.modeling.scores import (
    LabelMap,
    Tiles,
    evaluation_dtype,
    pad_to_batch,
    predict_tiles,
    resize,
    top_classes,
    top_classes_of_tiles,
)
from stseg.modeling.text import ClassEmbeddings
from stseg.structures import IGNORE_LABEL, Vocabulary


class OpenVocabSegmentor(nn.Module):
    """Owns batching, class embeddings, the fork between training and evaluation, post-processing.

    A subclass says how pixels are scored (`predict`); everything else is injected.
    """

    def __init__(
        self,
        *,
        text_encoder: nn.Module,
        criterion: nn.Module,
        image_size: tuple[int, int],
        tiles: Tiles | None = None,
        dtype: str = "fp32",
    ):
        """Build the shared part.

        Args:
            text_encoder: `Vocabulary` -> `ClassEmbeddings`.
            criterion: score maps and labels -> dict of losses.
            image_size: (height, width) in pixels at which the network works; images are resized
                to it whole, whatever their shape (paper, section 3: 768 x 768).
            tiles: evaluate by windows, or None for the whole image as the paper.
            dtype: "fp32", "bf16" or "fp16", what evaluation computes in; training and the text
                encoder have keys of their own.

        Raises:
            ValueError: for an unknown dtype.
        """
        super().__init__()
        self.text_encoder = text_encoder
        self.criterion = criterion
        self.image_size = tuple(image_size)
        self.tiles = tiles
        self.dtype = check("MODEL.DTYPE", dtype)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    def predict(self, images: Tensor, embeddings: ClassEmbeddings) -> list[Tensor]:
        """Score every class at every cell.

        Args:
            images: (B, 3, h, w) RGB in [0, 255], of the working size.
            embeddings: of T classes.

        Returns:
            Logits (B, T, ., .), the final map first; evaluation looks at that one only.
        """
        raise NotImplementedError

    def pad_value(self) -> Tensor | float:
        """Pixel value, a number or (3, 1, 1), that fills up batches of mixed sizes."""
        return 0.0

    def forward(
        self, batched_inputs: Sequence[dict]
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Train on, or segment, a batch.

        Args:
            batched_inputs: one dict per image with "image": (3, H, W) RGB in [0, 255], uint8 or
                float; "vocabulary": `Vocabulary`, one for the whole batch; in training also
                "sem_seg": (H, W) int64 class ids, `IGNORE_LABEL` where unlabelled; in evaluation
                optionally "height" and "width" of the wanted map. Sizes may be mixed.

        Returns:
            In training a dict of scalar losses. In evaluation one dict per image with "sem_seg":
            (T, height, width) float32 probabilities, independent per class.

        Raises:
            ValueError: if the batch has no common vocabulary, or a label is outside it.
        """
        vocabulary = common_vocabulary(batched_inputs)
        embeddings = self.text_encoder(vocabulary)
        images = [x["image"].to(self.device, torch.float32) for x in batched_inputs]
        if self.training:
            batch = resize(pad_to_batch(images, self.pad_value()), self.image_size)
            target = pad_to_batch(
                [x["sem_seg"].to(self.device) for x in batched_inputs], IGNORE_LABEL
            )
            return self.criterion(self.predict(batch, embeddings), target, seen=vocabulary.seen)
        probs = self._segment(images, embeddings)
        sizes = _wanted_sizes(batched_inputs)
        return [{"sem_seg": resize(p[None], size)[0]} for p, size in zip(probs, sizes, strict=True)]

    @torch.no_grad()
    def label_maps(self, batched_inputs: Sequence[dict], k: int = 1) -> list[LabelMap]:
        """The best classes per pixel of what `forward` gives in evaluation, which is never made.

        Equal to the best of its probabilities but for rounding, at a fraction of their time and
        memory.

        Args:
            batched_inputs: as in evaluation.
            k: classes per pixel.

        Raises:
            ValueError: if the batch has no common vocabulary, or k is not in [1, T].
        """
        embeddings = self.text_encoder(common_vocabulary(batched_inputs))
        images = [x["image"].to(self.device, torch.float32) for x in batched_inputs]
        sizes = _wanted_sizes(batched_inputs)

        def logits(batch: Tensor) -> Tensor:
            return self._logits(batch, embeddings)

        if self.tiles:
            return [
                top_classes_of_tiles(
                    logits, image, self.tiles, self.image_size, size, k, torch.sigmoid
                )
                for image, size in zip(images, sizes, strict=True)
            ]
        scores = logits(torch.cat([resize(x[None], self.image_size) for x in images]))
        return [top_classes(x, s, k, torch.sigmoid) for x, s in zip(scores, sizes, strict=True)]

    def _segment(self, images: Sequence[Tensor], embeddings: ClassEmbeddings) -> Sequence[Tensor]:
        def probabilities(batch: Tensor) -> Tensor:
            return self._logits(batch, embeddings).float().sigmoid()

        if self.tiles:
            return [predict_tiles(probabilities, x, self.tiles, self.image_size) for x in images]
        return probabilities(torch.cat([resize(x[None], self.image_size) for x in images]))

    def _logits(self, batch: Tensor, embeddings: ClassEmbeddings) -> Tensor:
        """The final score map, computed in the precision of evaluation: (B, T, ., .)."""
        dtype = evaluation_dtype(self.dtype, self.device.type)
        if dtype is None:  # leave a caller's own autocast alone
            return self.predict(batch, embeddings)[0]
        with torch.autocast(self.device.type, dtype):
            return self.predict(batch, embeddings)[0]


def _wanted_sizes(batched_inputs: Sequence[dict]) -> list[tuple[int, int]]:
    """(height, width) of the maps that are asked for."""
    sizes = [x["image"].shape[-2:] for x in batched_inputs]
    return [
        (x.get("height", height), x.get("width", width))
        for x, (height, width) in zip(batched_inputs, sizes, strict=True)
    ]


def common_vocabulary(batched_inputs: Sequence[dict]) -> Vocabulary:
    """The vocabulary all inputs of a batch carry."""
    vocabularies = {x["vocabulary"] for x in batched_inputs if "vocabulary" in x}
    if len(vocabularies) != 1 or any("vocabulary" not in x for x in batched_inputs):
        raise ValueError(
            f"batched_inputs: expected one and the same 'vocabulary' in every input, got "
            f"{len(vocabularies)} different ones in {len(batched_inputs)} inputs. The mapper sets "
            "it from the data set's metadata; set it yourself with Vocabulary.parse(...)."
        )
    return vocabularies.pop()
