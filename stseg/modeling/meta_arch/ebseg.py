"""EBSeg (Shan et al., CVPR 2024): masks by queries, named by a balance of three embeddings.

CLIP's lower blocks and SAM meet in a mask decoder, whose queries then look at the picture once more
through CLIP's upper blocks. Of all this nothing depends on words, so that `encode` does it, and
other words for a picture cost a product of matrices.

Published code asks CLIP's upper blocks in all rounds also in evaluation, which uses the last: here
the last alone is asked. A batch of mixed sizes is padded to common ones, and the encoders see the
padding: whoever compares figures evaluates images one by one, as published.

Shapes: B images, Q queries, T classes, E channels of class vectors, h x w cells of the masks.
"""

from collections.abc import Mapping, Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from stseg.config import check
from stseg.modeling.heads import EmbeddingBalance, frozen_embeddings
from stseg.modeling.losses import SetCriterion, SetPrediction, structure_consistency
from stseg.modeling.meta_arch.base import published_classes
from stseg.modeling.meta_arch.batch import Batch
from stseg.modeling.meta_arch.benchmark_marks import benchmark_marks
from stseg.modeling.meta_arch.ebseg_parts import build_ebseg_parts, files_of_frozen_parts
from stseg.modeling.meta_arch.features import Features
from stseg.modeling.meta_arch.mask_queries import MULTIPLE, MaskQuerySegmentor
from stseg.modeling.meta_arch.normalised import normalised_batch, rescaled
from stseg.modeling.scores import build_tiles
from stseg.modeling.text import ClassEmbeddings
from stseg.structures import Vocabulary

#: Weights of the losses by name; both class losses come with the same assignment.
LOSS_WEIGHTS = {"loss_ce": 1.5, "loss_ce_masked": 1.5, "loss_mask": 5.0, "loss_dice": 5.0}


@META_ARCH_REGISTRY.register()
class EBSeg(MaskQuerySegmentor):
    """Frozen CLIP and SAM + pixel and mask decoder + AdaB; SSC and set losses."""

    @configurable
    def __init__(
        self,
        *,
        image_encoder: nn.Module,
        sam_encoder: nn.Module,
        map_fusion: nn.Module,
        pixel_decoder: nn.Module,
        mask_decoder: nn.Module,
        classifier: nn.Module,
        balance: EmbeddingBalance,
        clip_scale: float = 0.5,
        ssc_weight: float = 10.0,
        ignored: str = "negative",
        **shared,
    ):
        """Wire the parts.

        Args:
            image_encoder: `SplitViT`; its taps are added to SAM's maps.
            sam_encoder: `SAMPyramid`.
            map_fusion: `MapFusion` of the taps.
            pixel_decoder: `PixelDecoder`.
            mask_decoder: `MaskDecoder` with class embeddings and attention bias.
            classifier: `ClassifierWithRest`.
            balance: of the three embeddings.
            clip_scale: factor in (0, 1] on the padded image's sides for CLIP.
            ssc_weight: of structure consistency, at least 0.
            ignored: what unlabelled pixels are to the losses, see `losses`.
            **shared: keywords of `OpenVocabSegmentor`; the criterion is a `SetCriterion`.

        Raises:
            ValueError: if a value is out of its range.
        """
        super().__init__(**shared)
        self.image_encoder = image_encoder
        self.sam_encoder = sam_encoder
        self.map_fusion = map_fusion
        self.pixel_decoder = pixel_decoder
        self.mask_decoder = mask_decoder
        self.classifier = classifier
        self.balance = balance
        self.clip_scale = check("MODEL.EBSEG.CLIP_SCALE", clip_scale)
        self.ssc_weight = check("MODEL.EBSEG.SSC_WEIGHT", ssc_weight)
        self.ignored = check("MODEL.LOSS.IGNORED", ignored)
        self.own_files = files_of_frozen_parts(self)
        self.assumed_classes = published_classes()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Read `MODEL.EBSEG.*` of the answer and the losses; the parts read their own keys.

        And, as `SegmentationCriterion` does, what stage 2 asks of losses.
        """
        own, st = cfg.MODEL.EBSEG, cfg.SELF_TRAINING
        alpha = st.ALPHA if st.ENABLED else None
        return {
            **build_ebseg_parts(cfg),
            "balance": EmbeddingBalance(own.ALPHA, own.BETA, own.GAMMA),
            "clip_scale": own.CLIP_SCALE,
            "ssc_weight": own.SSC_WEIGHT,
            "ignored": cfg.MODEL.LOSS.IGNORED,
            "criterion": SetCriterion(weights=LOSS_WEIGHTS, alpha=alpha),
            "tiles": build_tiles(cfg),
            "dtype": cfg.MODEL.DTYPE,
        }

    def encode(self, images: Sequence[Tensor]) -> Features:
        """All that needs no words; see `OpenVocabSegmentor.encode` for the images.

        Returns:
            "mask_logits" (B, Q, h, w), and of the queries "class_embeds" (A of the paper, of one
            length) and "masked_embeds" (B, unit), (B, Q, E) each: of the last round. In evaluation
            "frozen_embeds" (D), too; in training those of earlier rounds, with "_0" and on behind.
        """
        clip_mean, clip_std = self.image_encoder.pixel_mean, self.image_encoder.pixel_std
        small = rescaled(normalised_batch(images, clip_mean, clip_std, MULTIPLE), self.clip_scale)
        sam_mean, sam_std = self.sam_encoder.pixel_mean, self.sam_encoder.pixel_std
        large = normalised_batch(images, sam_mean, sam_std, MULTIPLE)
        with self._precision():
            clip = self.image_encoder(small, dense=not self.training)
            tensors = self._decode(clip, self.sam_encoder(large))
        return Features(tensors, tuple((x.shape[-2], x.shape[-1]) for x in images))

    def _decode(self, clip: Mapping[str, Tensor], sam: Mapping[str, Tensor]) -> dict[str, Tensor]:
        taps = [clip[f"block_{n}"] for n in self.image_encoder.taps]
        mask_features, maps = self.pixel_decoder(self.map_fusion(sam, taps))
        height, width = clip["keys_0"].shape[2:4]
        rounds = self.mask_decoder(
            mask_features, maps, every_round=self.training, bias_size=(height, width)
        )
        tensors = {}
        for suffix, found in zip(self.suffixes[-len(rounds) :], rounds, strict=True):
            tensors[f"mask_logits{suffix}"] = found.mask_logits
            tensors[f"class_embeds{suffix}"] = found.class_embeds
            tensors[f"masked_embeds{suffix}"] = self.image_encoder.ask(clip, found.attention_bias)
        if "dense" in clip:
            frozen = frozen_embeddings(clip["dense"], tensors["mask_logits"])
            tensors["frozen_embeds"] = frozen
        return tensors

    def logits(
        self,
        features: Mapping[str, Tensor],
        embeddings: ClassEmbeddings,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """What is inside each query's mask, and what that shows (paper, section 3.3).

        Args:
            features: of `encode` in evaluation.
            embeddings: of T classes.
            seen: (T,) bool, the classes that had labels in training; None takes all for unseen,
                of which CLIP decides alone.

        Returns:
            Mask logits (B, Q, h, w), and float32 shares (B, Q, T) of the classes in each query;
            what is missing to 1 is the share of no object.
        """
        if seen is None:
            seen = torch.zeros(embeddings.num_classes, dtype=torch.bool, device=self.device)
        decoder, frozen, masked = (
            self._class_logits(features[f"{name}_embeds"], embeddings)
            for name in ("class", "frozen", "masked")
        )
        balanced = self.balance(decoder, frozen[..., :-1], masked[..., :-1], seen)
        return features["mask_logits"], balanced.softmax(-1)[..., :-1]

    @property
    def mask_stride(self) -> int:
        """See `MaskQuerySegmentor`."""
        return self.sam_encoder.output_shape()["res2"].stride

    def seen_marks(self, vocabulary: Vocabulary) -> Tensor | None:
        """See `OpenVocabSegmentor`; a benchmark's as its authors', for weights that say nothing."""
        if vocabulary.seen is None and not self.facts.trained_on:
            marks = benchmark_marks(vocabulary.synonyms)
            if marks is not None:
                return torch.tensor(marks, device=self.device)
        return super().seen_marks(vocabulary)

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Set losses of every round, and structure consistency of the last ("loss_ssc").

        With `ignored` "negative", what is unlabelled belongs to no object, as published: an image
        without any label teaches all queries to say so, and its masks nothing. With "masked" it is
        unknown, and such an image teaches nothing at all.

        Args:
            features: of `encode` in training.
            batch: with `sem_seg`; where the criterion has an alpha, with marks of seen classes.

        Raises:
            ValueError: if label maps or marks are missing.
        """
        targets = self.targets(batch)
        embeddings = self.embed(batch.vocabulary)
        tensors = features.tensors
        rounds = [self._prediction(tensors, embeddings, suffix) for suffix in self.suffixes]
        losses, matches = self.criterion(rounds, targets, seen=batch.vocabulary.seen)
        if self.ssc_weight:
            pairs = list(zip(tensors["class_embeds"], targets, matches, strict=True))
            vectors = embeddings.mean_over_synonyms().mean_over_templates()
            losses["loss_ssc"] = self.ssc_weight * structure_consistency(
                [embeds[match.queries] for embeds, _, match in pairs],
                [target.labels[match.targets] for _, target, match in pairs],
                vectors @ vectors.T,
            )
        return losses

    def _prediction(
        self, tensors: Mapping[str, Tensor], embeddings: ClassEmbeddings, suffix: str
    ) -> SetPrediction:
        class_logits = {
            name: self._class_logits(tensors[f"{kind}_embeds{suffix}"], embeddings)
            for name, kind in (("loss_ce", "class"), ("loss_ce_masked", "masked"))
        }
        return SetPrediction(tensors[f"mask_logits{suffix}"], class_logits)

    def _class_logits(self, embeds: Tensor, embeddings: ClassEmbeddings) -> Tensor:
        """(B, Q, T + 1) float32 of embeddings (B, Q, E), no object last."""
        with torch.autocast(embeds.device.type, enabled=False):
            vectors = self.classifier(embeddings).float()
            names = self.text_encoder.logit_scale * embeds.float() @ vectors.T
        classes = embeddings.of_best_names(names[..., :-1])
        return torch.cat([classes, names[..., -1:]], dim=-1)
