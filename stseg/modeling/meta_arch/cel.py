"""CEL (Dao, Shi, Phung, Cai, TMM 2024), our reading: mask proposals without a background embedding.

Of the paper only the abstract is public: proposals are scored against texts, the background vector
that takes unseen classes is bypassed in training, and losses rank similarities. How is ours. What
it argues against, a trained background vector, is MODEL.CEL.BACKGROUND.ENABLED.

Shapes: B images, Q queries, T classes, E channels of class vectors, h x w cells of the masks.
"""

from collections.abc import Mapping, Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check
from stseg.modeling.encoders import build_clip, build_image_encoder
from stseg.modeling.heads import ProposalScoring, build_mask_heads, frozen_embeddings
from stseg.modeling.losses import (
    EnhancementLoss,
    MaskTargets,
    Match,
    ProposalScores,
    RandomPoints,
    SetCriterion,
    SetPrediction,
    build_enhancements,
    known_shares,
)
from stseg.modeling.meta_arch.batch import Batch
from stseg.modeling.meta_arch.features import Features
from stseg.modeling.meta_arch.mask_queries import MULTIPLE, MaskQuerySegmentor
from stseg.modeling.scores import build_tiles, pad_to_batch
from stseg.modeling.text import ClassEmbeddings, build_text_encoder


@META_ARCH_REGISTRY.register()
class CEL(MaskQuerySegmentor):
    """CLIP's image tower + pixel and mask decoder + texts; set and class enhancement losses."""

    own_files = {
        "image_encoder.": "MODEL.CLIP.PRETRAINED",
        "text_encoder.": "MODEL.CLIP.PRETRAINED",
    }
    undecayed = (*MaskQuerySegmentor.undecayed, "scoring.bias")

    @configurable
    def __init__(
        self,
        *,
        image_encoder: nn.Module,
        pixel_decoder: nn.Module,
        mask_decoder: nn.Module,
        scoring: ProposalScoring,
        enhancements: Mapping[str, tuple[float, EnhancementLoss]] | None = None,
        ignored: str = "negative",
        absent: str = "auto",
        **shared,
    ):
        """Wire the parts.

        Args:
            image_encoder: `CLIPImageEncoder`, frozen.
            pixel_decoder: `PixelDecoder` of its stage maps.
            mask_decoder: `MaskDecoder` with class embeddings.
            scoring: of its embeddings.
            enhancements: weight and loss by name, of the last round.
            ignored: what unlabelled pixels are to the set losses, see `EBSeg.losses`.
            absent: which classes without a label in an image are in it nowhere: "all", "seen"
                (those marked so), "none", or "auto": none where unlabelled pixels are unknown.
            **shared: keywords of `OpenVocabSegmentor`; the criterion is a `SetCriterion`.

        Raises:
            ValueError: if a value is out of its range.
        """
        super().__init__(**shared)
        self.image_encoder = image_encoder
        self.pixel_decoder = pixel_decoder
        self.mask_decoder = mask_decoder
        self.scoring = scoring
        self.enhancements = dict(enhancements or {})
        self.ignored = check("MODEL.LOSS.IGNORED", ignored)
        self.absent = check("MODEL.CEL.ABSENT", absent)
        if absent == "auto":
            self.absent = "none" if ignored == "masked" else "all"
        # Only these losses teach it; DDP waits for a gradient of whatever asks for one.
        taught = bool(self.enhancements.keys() & {"loss_presence", "loss_absent"})
        scoring.bias.requires_grad_(taught)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Read `MODEL.CEL.*`; encoders read their own keys.

        Raises:
            ValueError: if the image tower shall learn: what proposals are compared with does not.
        """
        if cfg.MODEL.CLIP.FINETUNE != "none":
            raise ValueError(
                "MODEL.CLIP.FINETUNE: expected 'none' for CEL, whose tower stays where its texts "
                f"are, got {cfg.MODEL.CLIP.FINETUNE!r}. Set it to none."
            )
        own, st = cfg.MODEL.CEL, cfg.SELF_TRAINING
        clip = build_clip(cfg)
        image_encoder = build_image_encoder(cfg, clip.visual)
        shapes = image_encoder.output_shape()
        background = own.BACKGROUND.WEIGHT if own.BACKGROUND.ENABLED else None
        class_dim = shapes["dense"].channels
        maps = [shapes[name].channels for name in ("res2", "res3", "res4", "res5")]
        pixel_decoder, mask_decoder = build_mask_heads(own, maps, class_dim)
        return {
            "image_encoder": image_encoder,
            "text_encoder": build_text_encoder(cfg, clip),
            "pixel_decoder": pixel_decoder,
            "mask_decoder": mask_decoder,
            "scoring": ProposalScoring(
                class_dim,
                temperature=own.TEMPERATURE,
                bias=own.BIAS,
                softness=own.SOFTNESS,
                seen_offset=own.SEEN_OFFSET,
                background=own.BACKGROUND.ENABLED,
                pooled=(own.POOLED.SEEN, own.POOLED.OTHERS),
            ),
            "criterion": SetCriterion(
                no_object_weight=background,
                weights={"loss_ce": own.LOSSES.MATCHED_WEIGHT, "loss_mask": 5.0, "loss_dice": 5.0},
                points=RandomPoints(own.NUM_POINTS),
                alpha=st.ALPHA if st.ENABLED else None,
            ),
            "enhancements": {} if own.BACKGROUND.ENABLED else build_enhancements(cfg),
            "ignored": cfg.MODEL.LOSS.IGNORED,
            "absent": own.ABSENT,
            "tiles": build_tiles(cfg),
            "dtype": cfg.MODEL.DTYPE,
        }

    @property
    def mask_stride(self) -> int:
        """See `MaskQuerySegmentor`."""
        return self.image_encoder.output_shape()["res2"].stride

    def encode(self, images: Sequence[Tensor]) -> Features:
        """All that needs no words, of images padded to common sides.

        Returns:
            "mask_logits" (B, Q, h, w) and "class_embeds" (B, Q, E) of the last round; in training
            those of earlier rounds, too, with "_0" and on behind. In evaluation "pooled_embeds"
            (B, Q, E), what frozen CLIP sees in each mask, where the scoring asks for it.
        """
        batch = pad_to_batch(images, self.image_encoder.pixel_mean, MULTIPLE)
        with self._precision():
            clip = self.image_encoder(batch)
            mask_features, maps = self.pixel_decoder(clip)
            rounds = self.mask_decoder(mask_features, maps, every_round=self.training)
        tensors = {}
        if not self.training and any(self.scoring.pooled_shares):
            dense = F.normalize(clip["dense"].float(), dim=1)
            tensors["pooled_embeds"] = frozen_embeddings(dense, rounds[-1].mask_logits.float())
        for suffix, found in zip(self.suffixes[-len(rounds) :], rounds, strict=True):
            tensors[f"mask_logits{suffix}"] = found.mask_logits
            tensors[f"class_embeds{suffix}"] = found.class_embeds
        return Features(tensors, tuple((x.shape[-2], x.shape[-1]) for x in images))

    def logits(
        self,
        features: Mapping[str, Tensor],
        embeddings: ClassEmbeddings,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """What is inside each query's mask, and what that shows.

        Args:
            features: of `encode` in evaluation.
            embeddings: of T classes.
            seen: (T,) bool, for MODEL.CEL.SEEN_OFFSET and POOLED; None takes no class for seen.

        Returns:
            Mask logits (B, Q, h, w), and float32 shares (B, Q, T); what is missing to 1 is junk.
        """
        masks = features["mask_logits"]
        cosines = self.scoring.cosines(features["class_embeds"], embeddings)
        pooled = features.get("pooled_embeds")
        if pooled is not None:
            pooled = self.scoring.pooled_cosines(pooled, embeddings)
        return masks, self.scoring.shares(cosines, masks, seen, pooled)

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Set losses of every round, and the class enhancement losses of the last.

        Args:
            features: of `encode` in training.
            batch: with `sem_seg`; where the criterion has an alpha or `absent` is "seen", with
                marks of seen classes.

        Raises:
            ValueError: if label maps or marks are missing.
        """
        labelled = self.targets(batch, "masked")
        targets = labelled
        if self.ignored == "negative":
            targets = [target._replace(known=None) for target in labelled]
        embeddings = self.embed(batch.vocabulary)
        tensors = features.tensors
        embeds = [tensors[f"class_embeds{x}"] for x in self.suffixes]
        cosines = [self.scoring.cosines(x, embeddings) for x in embeds]
        logits = [{"loss_ce": cosine / self.scoring.temperature} for cosine in cosines]
        masks = [tensors[f"mask_logits{x}"] for x in self.suffixes]
        rounds = [SetPrediction(*pair) for pair in zip(masks, logits, strict=True)]
        losses, matches = self.criterion(rounds, targets, seen=batch.vocabulary.seen)
        if self.enhancements:
            known = known_shares(masks[-1], labelled)
            scores = self._scores(cosines[-1], known, targets, matches, batch, embeddings)
            for name, (weight, loss) in self.enhancements.items():
                losses[name] = weight * loss(scores)
        return losses

    def _scores(
        self,
        cosines: Tensor,
        known: Tensor | None,
        targets: list[MaskTargets],
        matches: list[Match],
        batch: Batch,
        embeddings: ClassEmbeddings,
    ) -> ProposalScores:
        present = torch.zeros(len(targets), cosines.shape[-1], dtype=torch.bool)
        for row, target in zip(present, targets, strict=True):
            row[target.labels.cpu()] = True
        present = present.to(cosines.device)
        vectors = embeddings.mean_over_synonyms().mean_over_templates()
        return ProposalScores(
            cosines=cosines,
            matches=matches,
            targets=targets,
            known=known,
            vectors=vectors,
            present=present,
            absent=~present & self._exhaustive(batch),
            bias=self.scoring.bias,
            softness=self.scoring.softness,
        )

    def _exhaustive(self, batch: Batch) -> Tensor:
        """(T,) bool, the classes whose every pixel carries their label, if it carries any."""
        vocabulary = batch.vocabulary
        if self.absent != "seen":
            return torch.full((len(vocabulary),), self.absent == "all", device=self.device)
        if vocabulary.seen is None:
            raise ValueError(
                "vocabulary.seen: expected a mark per class because MODEL.CEL.ABSENT is 'seen', "
                "got None. Mark it with Vocabulary.with_seen(source names)."
            )
        return torch.tensor(vocabulary.seen, device=self.device)
