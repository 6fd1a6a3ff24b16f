"""What every open-vocabulary system here shares: five verbs, batches in, losses or answers out.

    embed(vocabulary)                           words -> ClassEmbeddings
    encode(images)                              pictures -> Features, without words
    logits(features, embeddings, seen)          tensors in, tensors out: what is exported
    score(features, embeddings, vocabulary)     -> Scores, one per image
    losses(features, batch)                     -> scalars

Whole probability maps, the best classes, windows and other words for a picture that is encoded
already are made of these, the same for all.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from stseg.checkpoint import WeightFacts
from stseg.config import check
from stseg.data import known_classes, load_class_list
from stseg.modeling.meta_arch.batch import Batch, common_vocabulary, images_of, wanted_sizes
from stseg.modeling.meta_arch.features import EncodedImage, Features
from stseg.modeling.scores import (
    Box,
    CellScores,
    LabelMap,
    Scores,
    Source,
    Tiles,
    WindowScores,
    evaluation_dtype,
    pad_to_batch,
    probabilities,
    resize,
)
from stseg.modeling.text import ClassEmbeddings
from stseg.structures import Vocabulary


class OpenVocabSegmentor(nn.Module):
    """Owns batching, precision, windows and the fork between training and evaluation.

    A subclass says what is seen (`extract`, or `encode` where it prepares images otherwise) and how
    pixels are scored (`logits`, and `score` where the answer is not one map of cells per class).
    """

    #: Factors on the learning rate: (name, factor), as SOLVER.LR_MULTIPLIERS, which come after.
    lr_multipliers: tuple[tuple[str, float], ...] = ()
    #: Names of parameters, written likewise, that weight decay leaves alone.
    undecayed: tuple[str, ...] = ()
    #: Parts that have files of their own, by the config key that names each: a checkpoint may leave
    #: them out, each as a whole.
    own_files: Mapping[str, str] = {}
    #: Parts that only losses use, as prefixes: a checkpoint may lack one, or have another in its
    #: place, which is left out then.
    training_parts: tuple[str, ...] = ()
    #: Whether label maps teach it anything; pseudo-labels are made for such systems alone.
    learns_from_labels = True
    #: Whether `logits` treats classes that had labels in training otherwise, and so asks for marks.
    asks_seen = False
    #: Names of the classes that weights had labels for which do not say so.
    assumed_classes: tuple[tuple[str, ...], ...] = ()

    def __init__(
        self,
        *,
        text_encoder: nn.Module,
        criterion: nn.Module,
        image_size: tuple[int, int] | None = None,
        image_size_test: tuple[int, int] | None = None,
        tiles: Tiles | None = None,
        dtype: str = "fp32",
    ):
        """Build the shared part.

        Args:
            text_encoder: `Vocabulary` -> `ClassEmbeddings`.
            criterion: score maps and labels -> dict of losses.
            image_size: (height, width) in pixels at which the network works; images are resized
                to it whole, whatever their shape (paper, section 3: 768 x 768). None for a system
                with an `encode` of its own that works at the images' sizes.
            image_size_test: the same in evaluation, `image_size` if None or empty.
            tiles: evaluate by windows, or None for the whole image as the paper.
            dtype: "fp32", "bf16" or "fp16", what evaluation computes in; training and the text
                encoder have keys of their own.

        Raises:
            ValueError: for an unknown dtype.
        """
        super().__init__()
        self.text_encoder = text_encoder
        self.criterion = criterion
        self.image_size = None if image_size is None else tuple(image_size)
        self.image_size_test = tuple(image_size_test) if image_size_test else self.image_size
        self.tiles = tiles
        self.dtype = check("MODEL.DTYPE", dtype)
        self.facts = WeightFacts()  # of the weights that are loaded next

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    # --- the five verbs ---

    def embed(self, vocabulary: Vocabulary) -> ClassEmbeddings:
        """Words under the model's templates."""
        return self.text_encoder(vocabulary)

    def encode(self, images: Sequence[Tensor]) -> Features:
        """Pictures, without words.

        Args:
            images: (3, H, W) float RGB in [0, 255] each, of any sizes.

        Returns:
            Features of images resized to the working size, of which evaluation may have its own;
            in training, where labels are padded alike, after padding to a common size.
        """
        if self.training:
            batch = resize(pad_to_batch(images, self.pad_value()), self.image_size)
        else:
            batch = torch.cat([resize(x[None], self.image_size_test) for x in images])
        with self._precision():
            tensors = self.extract(batch)
        return Features(tensors, tuple((x.shape[-2], x.shape[-1]) for x in images))

    def extract(self, images: Tensor) -> dict[str, Tensor]:
        """Features of a batch.

        Args:
            images: (B, 3, h, w) RGB in [0, 255], of the working size.
        """
        raise NotImplementedError

    def logits(
        self,
        features: Mapping[str, Tensor],
        embeddings: ClassEmbeddings,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Score every class at every cell; tensors in, tensors out, any number of classes.

        Args:
            features: of `encode`.
            embeddings: of T classes.
            seen: (T,) bool, the classes that had labels in training; None if unknown.

        Returns:
            The answer first, here (B, T, ., .); in training what else is learnt from.
        """
        raise NotImplementedError

    def answer(
        self,
        features: Mapping[str, Tensor],
        embeddings: ClassEmbeddings,
        seen: Tensor | None = None,
    ) -> Tensor:
        """The first of `logits` alone, for evaluation; a system may have a leaner way to it."""
        return self.logits(features, embeddings, seen)[0]

    def score(
        self, features: Features, embeddings: ClassEmbeddings, vocabulary: Vocabulary
    ) -> list[Scores]:
        """The answer for each image of a batch."""
        with self._precision():
            final = self.answer(features.tensors, embeddings, self.seen_marks(vocabulary))
        return [self.scores_of_cells(cells) for cells in final]

    def scores_of_cells(self, cells: Tensor) -> Scores:
        """What `answer` says of one image, (T, ., .); here independent probabilities per class."""
        return CellScores(cells, torch.sigmoid)

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Scalars to descend on, by name; see `Batch.labels` for a batch that has no label maps."""
        vocabulary = batch.vocabulary
        marks = self.seen_marks(vocabulary)
        outputs = self.logits(features.tensors, self.embed(vocabulary), marks)
        weights = batch.sem_seg_weight  # which a criterion of others need not know
        more = {} if weights is None else {"pixel_weights": weights}
        return self.criterion(outputs, batch.labels, seen=vocabulary.seen, **more)

    def seen_marks(self, vocabulary: Vocabulary) -> Tensor | None:
        """(T,) bool for `logits`: the vocabulary's own marks, else by the weights' training names.

        None where neither is known, or where the system does not ask.
        """
        if not self.asks_seen:
            return None
        marks = vocabulary.seen
        trained_on = self.facts.trained_on or self.assumed_classes
        if marks is None and trained_on:
            marks = _marks(trained_on, vocabulary.synonyms)
        return None if marks is None else torch.tensor(marks, device=self.device)

    def pad_value(self) -> Tensor | float:
        """Pixel value, a number or (3, 1, 1), that fills up batches of mixed sizes."""
        return 0.0

    # --- what is made of them ---

    def forward(
        self, batched_inputs: Sequence[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Train on, or segment, a batch.

        Args:
            batched_inputs: one dict per image with "image": (3, H, W) RGB in [0, 255], uint8 or
                float; "vocabulary": `Vocabulary`, one for the whole batch; in training also
                "sem_seg": (H, W) int64 class ids, `IGNORE_LABEL` where unlabelled, and optionally
                "sem_seg_weight", (H, W) in [0, 1], how much each label counts; or "caption": a
                text, which may come without a vocabulary; in evaluation
                optionally "height" and "width" of the wanted map. Sizes may be mixed.

        Returns:
            In training a dict of scalar losses. In evaluation one dict per image with "sem_seg":
            (T, height, width) float32 confidences in [0, 1].

        Raises:
            ValueError: if the batch has no common vocabulary, a label is outside it, or one is
                missing that the system learns from.
        """
        if self.training:
            batch = Batch.of(batched_inputs, self.device)
            return self.losses(self.encode(images_of(batched_inputs, self.device)), batch)
        return [{"sem_seg": self.confidences(x)} for x in self._sources(batched_inputs)]

    @torch.no_grad()
    def label_maps(self, batched_inputs: Sequence[dict[str, Any]], k: int = 1) -> list[LabelMap]:
        """The best classes per pixel of what `forward` gives in evaluation, which is never made.

        Equal to the best of its confidences but for rounding, at a fraction of their time and
        memory.

        Args:
            batched_inputs: as in evaluation.
            k: classes per pixel.

        Raises:
            ValueError: if the batch has no common vocabulary, or k is not in [1, T].
        """
        return [self.best(source, k) for source in self._sources(batched_inputs)]

    def confidences(self, source: Source) -> Tensor:
        """(T, H, W) float32 in [0, 1], at the temperature of the weights."""
        return probabilities(source, self.facts.temperature)

    def best(self, source: Source, k: int = 1) -> LabelMap:
        """The k best classes per pixel, at the temperature of the weights."""
        return LabelMap.read(source, k).at_temperature(self.facts.temperature)

    def encoded(self, image: Tensor, kept_bytes: int = 0) -> EncodedImage:
        """An image to be asked about with several vocabularies, see `scores_of`.

        Args:
            image: (3, H, W) RGB in [0, 255].
            kept_bytes: of features that may stay in memory.
        """
        return EncodedImage(image.to(self.device, torch.float32), self.encode, kept_bytes)

    def scores_of(
        self, encoded: EncodedImage, embeddings: ClassEmbeddings, vocabulary: Vocabulary
    ) -> Scores:
        """The answer for one image, by windows where the model has them."""
        if self.tiles is None:
            return self.score(encoded.features(), embeddings, vocabulary)[0]
        canvas = encoded.image
        if self.tiles.canvas is not None:
            canvas = resize(canvas[None], self.tiles.canvas)[0]
        size = (canvas.shape[-2], canvas.shape[-1])

        def score(box: Box) -> Source:
            features = encoded.features(box, canvas)
            return self.score(features, embeddings, vocabulary)[0].at(box[2:])

        whole = None
        if self.tiles.whole_image:
            whole = self.score(encoded.features(), embeddings, vocabulary)[0].at(size)
        return WindowScores(size, self.tiles.rows_of_boxes(size), score, whole)

    def _sources(self, batched_inputs: Sequence[dict[str, Any]]) -> list[Source]:
        vocabulary = common_vocabulary(batched_inputs)
        embeddings = self.embed(vocabulary)
        images = images_of(batched_inputs, self.device)
        if self.tiles is None:
            scores = self.score(self.encode(images), embeddings, vocabulary)
        else:
            scores = [self.scores_of(self.encoded(x), embeddings, vocabulary) for x in images]
        sizes = wanted_sizes(batched_inputs)
        return [answer.at(size) for answer, size in zip(scores, sizes, strict=True)]

    def _precision(self) -> AbstractContextManager[Any]:
        """What evaluation computes in; training, and a caller's own autocast, are left alone."""
        dtype = None if self.training else evaluation_dtype(self.dtype, self.device.type)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)


@lru_cache(maxsize=1)
def published_classes() -> tuple[tuple[str, ...], ...]:
    """Names that the published weights, which do not say so, had labels for: COCO-Stuff's."""
    return Vocabulary.from_names(load_class_list("coco_stuff_171")).synonyms


@lru_cache(maxsize=8)
def _marks(
    source: tuple[tuple[str, ...], ...], target: tuple[tuple[str, ...], ...]
) -> tuple[bool, ...]:
    """Which classes the source has, or kinds of; long lists take seconds."""
    words = [Vocabulary.from_names(groups, allow_shared_names=True) for groups in (source, target)]
    return tuple(match is not None for match in known_classes(*words))
