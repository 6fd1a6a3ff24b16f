"""What systems share that answer with masks of queries, as MaskFormer (Cheng et al., NeurIPS 2021).

Shapes: B images, Q queries, T classes, h x w cells of the masks.
"""

from collections.abc import Sequence

from torch import Tensor

from stseg.modeling.losses import MaskTargets, masks_of_labels
from stseg.modeling.meta_arch.base import OpenVocabSegmentor
from stseg.modeling.meta_arch.batch import Batch
from stseg.modeling.meta_arch.features import Features
from stseg.modeling.scores import QueryScores, Scores, pad_to_batch
from stseg.modeling.text import ClassEmbeddings
from stseg.structures import IGNORE_LABEL, Vocabulary

#: Sides of a batch are multiples of so many pixels, at the cost of padding.
MULTIPLE = 32


class MaskQuerySegmentor(OpenVocabSegmentor):
    """Answers are sums over queries of mask times share of a class; labels become masks."""

    asks_seen = True
    undecayed = (
        "mask_decoder.query_feats",
        "mask_decoder.query_positions",
        "mask_decoder.level_embed",
        "*.positional_embedding",
        "*.pos_embed",
    )
    #: What unlabelled pixels are to the losses, see MODEL.LOSS.IGNORED.
    ignored = "negative"

    @property
    def mask_stride(self) -> int:
        """Pixels of the padded batch per cell of a mask."""
        raise NotImplementedError

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the names of features of each round, from first to last, which has none."""
        return (*(f"_{i}" for i in range(len(self.mask_decoder.layers))), "")

    def score(
        self, features: Features, embeddings: ClassEmbeddings, vocabulary: Vocabulary
    ) -> list[Scores]:
        """Of masks and shares that `logits` gives, streamed; see `QueryScores`."""
        with self._precision():
            marks = self.seen_marks(vocabulary)
            masks, shares = self.logits(features.tensors, embeddings, marks)
        padded = (self.mask_stride * masks.shape[-2], self.mask_stride * masks.shape[-1])
        return [
            QueryScores(mask.float(), share, padded, size)
            for mask, share, size in zip(masks, shares, features.sizes, strict=True)
        ]

    def targets(self, batch: Batch, ignored: str | None = None) -> list[MaskTargets]:
        """One mask per class that an image shows, in the frame of the padded batch.

        Args:
            batch: with `sem_seg`.
            ignored: what unlabelled pixels are, the attribute's if None.
        """
        labels = pad_to_batch(list(batch.labels), IGNORE_LABEL, MULTIPLE)
        weights: Sequence[Tensor | None] = [None] * len(labels)
        if batch.sem_seg_weight is not None:
            weights = list(pad_to_batch(list(batch.sem_seg_weight), 1.0, MULTIPLE))
        pairs = zip(labels, weights, strict=True)
        return [masks_of_labels(x, w, ignored=ignored or self.ignored) for x, w in pairs]
