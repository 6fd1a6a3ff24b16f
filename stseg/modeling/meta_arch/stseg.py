"""STSeg's main branch (paper, section 2): CLIP and SAM features, DEA, cost volume, CAD.

Without DEA and without self-training it is SED (CVPR 2024).
"""

from collections.abc import Mapping

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from stseg.modeling.encoders import build_clip, build_image_encoder, build_sam_encoder
from stseg.modeling.heads import CostAwareDecoder as _  # noqa: F401  only registration
from stseg.modeling.heads import CostVolume
from stseg.modeling.layers import DEA
from stseg.modeling.losses import SegmentationCriterion
from stseg.modeling.meta_arch.base import OpenVocabSegmentor
from stseg.modeling.scores import build_tiles
from stseg.modeling.text import ClassEmbeddings, LatestExperts, build_text_encoder
from stseg.structures import Vocabulary
from stseg.utils import registered


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
        guidance_detached: bool = True,
        **shared,
    ):
        """Wire the parts.

        Args:
            image_encoder: `CLIPImageEncoder`.
            head: `CostAwareDecoder`.
            sam_encoder: `SAMImageEncoder`, with `dea` only.
            dea: `DEA`, or None for the baseline.
            guidance_detached: the image tower learns through the cost volume only (published).
            **shared: keywords of `OpenVocabSegmentor`.

        Raises:
            ValueError: if only one of `sam_encoder` and `dea` is given.
        """
        super().__init__(**shared)
        if (sam_encoder is None) != (dea is None):
            raise ValueError("sam_encoder, dea: expected both or neither.")
        self.image_encoder = image_encoder
        self.sam_encoder = sam_encoder
        self.dea = dea
        self.head = head
        self.guidance_detached = guidance_detached
        self._experts = LatestExperts()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Read `MODEL.STSEG.*`; every part reads its own keys."""
        clip = build_clip(cfg)
        image_encoder = build_image_encoder(cfg, clip.visual)
        shape = image_encoder.output_shape()
        _check_size(cfg, max(spec.stride for spec in shape.values()))
        parts = {"sam_encoder": None, "dea": None}
        if cfg.MODEL.STSEG.DEA.ENABLED:
            sam_encoder = build_sam_encoder(cfg)
            sam_dim = sam_encoder.output_shape()["sam"].channels
            parts = {
                "sam_encoder": sam_encoder,
                "dea": build_dea(cfg, shape["dense"].channels, sam_dim),
            }
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
            "image_size": cfg.MODEL.STSEG.IMAGE_SIZE,
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
        features = self.image_encoder(images)
        if self.dea is None:
            return features
        sam = self.sam_encoder(images)["sam"]
        return {**features, "dense": self.dea(features["dense"], sam), "sam": sam}

    def logits(
        self,
        features: Mapping[str, Tensor],
        embeddings: ClassEmbeddings,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Score every class at every cell; see `OpenVocabSegmentor.logits`."""
        del seen  # it treats all alike
        return self._decoded(features, embeddings)

    def answer(
        self,
        features: Mapping[str, Tensor],
        embeddings: ClassEmbeddings,
        seen: Tensor | None = None,
    ) -> Tensor:
        """In chunks of classes, where the head has a way to."""
        del seen
        in_chunks = {"in_chunks": True} if getattr(self.head, "has_chunks", False) else {}
        return self._decoded(features, embeddings, **in_chunks)[0]

    def _decoded(
        self, features: Mapping[str, Tensor], embeddings: ClassEmbeddings, **how: bool
    ) -> tuple[Tensor, ...]:
        cost = CostVolume(features["dense"], embeddings.embeds)
        guidance = [features[name] for name in ("res4", "res3", "res2")]
        if self.guidance_detached:
            guidance = [x.detach() for x in guidance]
        outputs = self.head(cost, guidance, embeddings.embeds, **how)
        return tuple(embeddings.class_scores(scores) for scores in outputs)


def _check_size(cfg: CfgNode, stride: int) -> None:
    size = tuple(cfg.MODEL.STSEG.IMAGE_SIZE)
    if any(side % stride for side in size):
        near = tuple(max(side // stride, 1) * stride for side in size)
        raise ValueError(
            f"MODEL.STSEG.IMAGE_SIZE: expected multiples of {stride}, the coarsest stride of "
            f"{cfg.MODEL.CLIP.NAME}, got {size}. Set {near}."
        )


def build_dea(cfg: CfgNode, dim: int, sam_dim: int) -> DEA:
    """Read `MODEL.STSEG.DEA.*`."""
    dea = cfg.MODEL.STSEG.DEA
    return DEA(dim, sam_dim, num_heads=dea.NUM_HEADS, ffn_ratio=dea.FFN_RATIO, init=dea.INIT)
