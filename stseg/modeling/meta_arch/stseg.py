"""STSeg's main branch (paper, section 2): CLIP and SAM features, DEA, cost volume, CAD.

Without DEA and without self-training it is SED (CVPR 2024).
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check, has_clip_beside
from stseg.modeling.encoders import (
    build_clip,
    build_image_encoder,
    build_sam_encoder,
    wrap_image_tower,
)
from stseg.modeling.heads import CosineHead as _cosine  # noqa: F401  only registration
from stseg.modeling.heads import CostAwareDecoder as _decoder  # noqa: F401  likewise
from stseg.modeling.heads import CostVolume, GeometricEnsemble
from stseg.modeling.layers import DEA, SamGuidance
from stseg.modeling.losses import SegmentationCriterion
from stseg.modeling.meta_arch.base import OpenVocabSegmentor, published_classes
from stseg.modeling.meta_arch.batch import Batch
from stseg.modeling.meta_arch.features import Features
from stseg.modeling.scores import Scores, SoftmaxScores, build_tiles
from stseg.modeling.text import ClassEmbeddings, LatestExperts, build_text_encoder
from stseg.structures import Vocabulary
from stseg.utils import registered

#: Stage maps that guide the decoder, and those of them that SAM's features may join.
GUIDANCE = ("res4", "res3", "res2")
JOINED = ("res4", "res3")


@META_ARCH_REGISTRY.register()
class STSeg(OpenVocabSegmentor):
    """Image encoders + text encoder + cost-aware decoder + criterion."""

    own_files = {
        "text_encoder.": "MODEL.CLIP.PRETRAINED",
        "sam_encoder.": "MODEL.SAM.CHECKPOINT",
    }
    lr_multipliers = (("image_encoder", 0.01),)  # as SED

    @configurable
    def __init__(
        self,
        *,
        image_encoder: nn.Module,
        head: nn.Module,
        sam_encoder: nn.Module | None = None,
        dea: nn.Module | None = None,
        sam_guidance: nn.Module | None = None,
        guidance_detached: bool = True,
        sam_zeroed: bool = False,
        pull_weight: float = 0.0,
        ensemble: GeometricEnsemble | None = None,
        clip_encoder: nn.Module | None = None,
        exclusive: bool = False,
        **shared,
    ):
        """Wire the parts.

        Args:
            image_encoder: `CLIPImageEncoder`.
            head: `CostAwareDecoder` or another one of its signature, such as `CosineHead`.
            sam_encoder: `SAMImageEncoder`, with `dea` only.
            dea: `DEA`, or None for the baseline.
            sam_guidance: `SamGuidance`, with `dea` only.
            guidance_detached: the image tower learns through the cost volume only (published).
            sam_zeroed: a control, see the key MODEL.STSEG.DEA.SAM_ZEROED.
            pull_weight: of the loss 1 - cos(F_cv, F_c), at least 0.
            ensemble: of CLIP's own answer with the decoder's in evaluation, or None.
            clip_encoder: with `ensemble`, what CLIP's own answer comes from where `image_encoder`
                learns; never saved, as its file has it. None takes `image_encoder`.
            exclusive: the decoder's probabilities are a softmax over the classes, as it was trained
                by cross entropy over them, in place of a sigmoid each.
            **shared: keywords of `OpenVocabSegmentor`.

        Raises:
            ValueError: if only one of `sam_encoder` and `dea` is given, or `sam_guidance` without
                them, or `pull_weight` is below 0.
        """
        super().__init__(**shared)
        if (sam_encoder is None) != (dea is None):
            raise ValueError("sam_encoder, dea: expected both or neither.")
        if sam_guidance is not None and dea is None:
            raise ValueError("sam_guidance: expected sam_encoder and dea beside it, got neither.")
        self.image_encoder = image_encoder
        if not getattr(image_encoder, "trainable", True):
            self.own_files = {"image_encoder.": "MODEL.CLIP.PRETRAINED", **self.own_files}
        self.sam_encoder = sam_encoder
        self.dea = dea
        self.sam_guidance = sam_guidance
        self.head = head
        self.guidance_detached = guidance_detached
        self._experts = LatestExperts()
        self.sam_zeroed = sam_zeroed
        self.pull_weight = check("MODEL.STSEG.DEA.PULL_WEIGHT", pull_weight)
        self.clip_encoder = clip_encoder
        self.register_state_dict_post_hook(_leave_out_clip)
        self.ensemble, self.exclusive = ensemble, exclusive
        if ensemble is not None:
            self.asks_seen = True
            self.assumed_classes = published_classes()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Read `MODEL.STSEG.*`; every part reads its own keys."""
        clip = build_clip(cfg)
        own_clip = None
        if has_clip_beside(cfg):
            own_clip = wrap_image_tower(deepcopy(clip.visual), finetune="none")
        image_encoder = build_image_encoder(cfg, clip.visual)
        shape = image_encoder.output_shape()
        _check_size(cfg, max(spec.stride for spec in shape.values()))
        has_sam = cfg.MODEL.STSEG.DEA.ENABLED
        parts = build_sam_side(cfg, shape) if has_sam else {"sam_encoder": None, "dea": None}
        text_encoder = build_text_encoder(cfg, clip)
        cost = ShapeSpec(channels=len(text_encoder.templates), stride=shape["dense"].stride)
        head_class = registered(
            SEM_SEG_HEADS_REGISTRY, cfg.MODEL.SEM_SEG_HEAD.NAME, "MODEL.SEM_SEG_HEAD.NAME"
        )
        return {
            **parts,
            "image_encoder": image_encoder,
            "text_encoder": text_encoder,
            "head": head_class(cfg, {**shape, "cost": cost}),
            "criterion": SegmentationCriterion(cfg),
            "guidance_detached": cfg.MODEL.STSEG.GUIDANCE_DETACHED,
            "ensemble": _ensemble_of(cfg),
            "clip_encoder": own_clip,
            "exclusive": cfg.MODEL.LOSS.KIND == "softmax",
            "image_size": cfg.MODEL.STSEG.IMAGE_SIZE,
            "image_size_test": cfg.MODEL.STSEG.IMAGE_SIZE_TEST,
            "tiles": build_tiles(cfg),
            "dtype": cfg.MODEL.DTYPE,
        }

    def embed(self, vocabulary: Vocabulary) -> ClassEmbeddings:
        """Words under the model's templates, or under those that the weights' facts choose."""
        embeddings, choice = self.text_encoder(vocabulary), self.facts.templates
        if not choice:
            return embeddings
        templates = self.text_encoder.templates
        return self._experts.of(embeddings, vocabulary.synonyms, templates, choice)

    def pad_value(self) -> Tensor:
        """CLIP's mean pixel: zero after normalisation, as published."""
        return self.image_encoder.pixel_mean

    def extract(self, images: Tensor) -> dict[str, Tensor]:
        """CLIP's dense map, fused with SAM's by DEA, and three maps to guide the decoder."""
        features = dict(self.image_encoder(images))
        clip = features["dense"]
        if self.guidance_detached:
            features |= {name: features[name].detach() for name in GUIDANCE}
        if self.dea is not None:
            sam = self.sam_encoder(images)["sam"]
            shown = torch.zeros_like(sam) if self.sam_zeroed else sam
            features |= {"dense": self.dea(clip, shown), "sam": sam}
            if self.sam_guidance is not None:
                features |= self.sam_guidance(features, shown)
            if self.training and self.pull_weight:
                features["clip"] = clip
        if self.ensemble is not None and not self.training:
            own = self.clip_encoder
            features["clip"] = clip if own is None else own(images)["dense"]
        return features

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Scalars to descend on, by name; "loss_dea_pull" takes CLIP's map as a fixed goal."""
        found = super().losses(features, batch)
        if "clip" in features.tensors:
            fused, clip = features.tensors["dense"].float(), features.tensors["clip"].float()
            apart = 1 - F.cosine_similarity(fused, clip.detach(), dim=1)
            found["loss_dea_pull"] = self.pull_weight * apart.mean()
        return found

    def logits(
        self,
        features: Mapping[str, Tensor],
        embeddings: ClassEmbeddings,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Score every class at every cell; see `OpenVocabSegmentor.logits`.

        Seen and unseen classes are alike, but for the ensemble, which takes all for unseen where
        `seen` is None. Confidences are a sigmoid of each; where the model was trained by a softmax,
        that over the classes.
        """
        final, *coarse = self._decoded(features, embeddings)
        if self.training:
            return final, *coarse
        return self._told(final, features, embeddings, seen), *coarse

    def answer(
        self,
        features: Mapping[str, Tensor],
        embeddings: ClassEmbeddings,
        seen: Tensor | None = None,
    ) -> Tensor:
        """In chunks of classes, where the head has a way to."""
        in_chunks = {"in_chunks": True} if getattr(self.head, "has_chunks", False) else {}
        final = self._decoded(features, embeddings, **in_chunks)[0]
        return self._told(final, features, embeddings, seen)

    def scores_of_cells(self, cells: Tensor) -> Scores:
        """Independent probabilities per class, or a softmax over them."""
        return SoftmaxScores(cells) if self.exclusive else super().scores_of_cells(cells)

    def _decoded(
        self, features: Mapping[str, Tensor], embeddings: ClassEmbeddings, **how: bool
    ) -> tuple[Tensor, ...]:
        cost = CostVolume(features["dense"], embeddings.embeds)
        guidance = [features[name] for name in GUIDANCE]
        outputs = self.head(cost, guidance, embeddings.embeds, **how)
        return tuple(embeddings.class_scores(scores) for scores in outputs)

    def _told(
        self,
        final: Tensor,
        features: Mapping[str, Tensor],
        embeddings: ClassEmbeddings,
        seen: Tensor | None,
    ) -> Tensor:
        """The decoder's scores, or what the ensemble makes of them."""
        if self.ensemble is None:
            return final
        similar = CostVolume(features["clip"], embeddings.embeds).mean()
        own = embeddings.class_scores(self.text_encoder.logit_scale * similar)
        if self.exclusive:
            return self.ensemble.mean(final.float().log_softmax(1), own, seen)
        return self.ensemble(final, own, seen)


def _ensemble_of(cfg: CfgNode) -> GeometricEnsemble | None:
    ensemble = cfg.MODEL.STSEG.ENSEMBLE
    weights = (ensemble.ALPHA, ensemble.BETA)
    return GeometricEnsemble(*weights) if any(weights) else None


def _leave_out_clip(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]
) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}clip_encoder.")]:
        del state[name]


def _check_size(cfg: CfgNode, stride: int) -> None:
    for key in ("IMAGE_SIZE", "IMAGE_SIZE_TEST"):
        size = tuple(cfg.MODEL.STSEG[key])
        if any(side % stride for side in size):
            near = tuple(max(side // stride, 1) * stride for side in size)
            raise ValueError(
                f"MODEL.STSEG.{key}: expected multiples of {stride}, the coarsest stride of "
                f"{cfg.MODEL.CLIP.NAME}, got {size}. Set {near}."
            )


def build_sam_side(cfg: CfgNode, shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
    """What there is with DEA only, as keywords of `STSeg`: reads `MODEL.STSEG.DEA.*`.

    Args:
        cfg: the whole config.
        shape: of the image encoder's maps.
    """
    dea = cfg.MODEL.STSEG.DEA
    sam_encoder = build_sam_encoder(cfg)
    sam_dim, antialias = sam_encoder.output_shape()["sam"].channels, dea.ANTIALIAS_ENABLED
    joined = {name: shape[name].channels for name in JOINED}
    return {
        "sam_encoder": sam_encoder,
        "dea": DEA(
            shape["dense"].channels,
            sam_dim,
            num_heads=dea.NUM_HEADS,
            ffn_ratio=dea.FFN_RATIO,
            init=dea.INIT,
            gated=dea.GATE_ENABLED,
            antialias=antialias,
        ),
        "sam_guidance": (
            SamGuidance(sam_dim, joined, antialias=antialias) if dea.GUIDANCE_ENABLED else None
        ),
        "sam_zeroed": dea.SAM_ZEROED,
        "pull_weight": dea.PULL_WEIGHT,
    }
