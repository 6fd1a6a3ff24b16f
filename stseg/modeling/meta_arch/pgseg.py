"""PGSeg (Zhang et al., NeurIPS 2023): segmentation learnt from captions, without masks.

A grouping transformer sorts patches into segments and these into groups; the mean of the groups is
compared with the caption (GroupViT, CVPR 2022), and centres of groups with prototypes of the same
picture, or of its caption, which are found by expectation-maximisation and not learnt. Written from
a description of the method, not from the authors' code.

Published code runs the encoder twice per window, for maps and for embeddings: here it runs once.

Shapes: B images, G groups, T classes with words, E channels of class vectors, h x w patches.
"""

from collections.abc import Mapping
from math import log
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check
from stseg.modeling.encoders import cell_shares
from stseg.modeling.losses import capped_scale, contrastive_loss, prototype_loss
from stseg.modeling.meta_arch.base import OpenVocabSegmentor
from stseg.modeling.meta_arch.batch import Batch
from stseg.modeling.meta_arch.features import Features
from stseg.modeling.meta_arch.pgseg_parts import build_pgseg_parts
from stseg.modeling.meta_arch.rest_thresholds import published_threshold
from stseg.modeling.scores import GroupScores, Scores, build_tiles, with_rest
from stseg.modeling.text import ClassEmbeddings
from stseg.structures import Vocabulary


@META_ARCH_REGISTRY.register()
class PGSeg(OpenVocabSegmentor):
    """Grouping transformer + text tower that trains; contrastive and prototype losses."""

    learns_from_labels = False
    training_parts = ("text_prototypes.",)
    undecayed = ("log_scale", "prototype_log_scale")

    @configurable
    def __init__(
        self,
        *,
        image_encoder: nn.Module,
        projector: nn.Module,
        text_prototypes: nn.Module | None = None,
        form: str = "intended",
        image_weight: float = 0.1,
        text_weight: float = 0.01,
        kept_classes: int = 5,
        rest_thresh: float = -1.0,
        rest_elsewhere: float = 0.5,
        **shared,
    ):
        """Wire the parts.

        Args:
            image_encoder: `GroupingTransformer`.
            projector: of its groups to E channels.
            text_prototypes: `TextPrototypes`, with prototypes in `image_encoder` only.
            form: "intended" or "released", of the prototype losses.
            image_weight: of the prototype loss of each stage, at least 0.
            text_weight: of that of the text, at least 0.
            kept_classes: most classes of an image or window, at least 1.
            rest_thresh: confidence in [0, 1] below which a group is the class without words, -1 for
                the published ones.
            rest_elsewhere: what -1 means for other words than the published.
            **shared: keywords of `OpenVocabSegmentor`; the text encoder is a `CaptionTextEncoder`,
                the criterion None.

        Raises:
            ValueError: if a value is out of its range.
        """
        super().__init__(criterion=None, **shared)
        self.image_encoder = image_encoder
        self.projector = projector
        self.text_prototypes = text_prototypes
        self.form = check("MODEL.PGSEG.PROTOTYPES.FORM", form)
        self.image_weight = check("MODEL.PGSEG.PROTOTYPES.IMAGE_WEIGHT", image_weight)
        self.text_weight = check("MODEL.PGSEG.PROTOTYPES.TEXT_WEIGHT", text_weight)
        self.kept_classes = check("MODEL.PGSEG.KEPT_CLASSES", kept_classes)
        self.rest_thresh = check("MODEL.PGSEG.REST_THRESH", rest_thresh)
        self.rest_elsewhere = check("MODEL.PGSEG.REST_THRESH_ELSEWHERE", rest_elsewhere)
        self.log_scale = nn.Parameter(torch.tensor(log(1 / 0.07)))
        self.prototype_log_scale = None
        if image_encoder.has_prototypes:
            self.prototype_log_scale = nn.Parameter(torch.tensor(log(1 / 0.1)))
            taught = bool(image_weight or (text_prototypes is not None and text_weight))
            self.prototype_log_scale.requires_grad_(taught)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Read `MODEL.PGSEG.*` of losses and answers; the parts read their own keys."""
        own = cfg.MODEL.PGSEG
        prototypes = own.PROTOTYPES
        return {
            **build_pgseg_parts(cfg),
            "form": prototypes.FORM,
            "image_weight": prototypes.IMAGE_WEIGHT,
            "text_weight": prototypes.TEXT_WEIGHT,
            "kept_classes": own.KEPT_CLASSES,
            "rest_thresh": own.REST_THRESH,
            "rest_elsewhere": own.REST_THRESH_ELSEWHERE,
            "image_size": tuple(own.IMAGE_SIZE),
            "image_size_test": tuple(own.IMAGE_SIZE_TEST),
            "tiles": build_tiles(cfg),
            "dtype": cfg.MODEL.DTYPE,
        }

    def extract(self, images: Tensor) -> dict[str, Tensor]:
        """See `OpenVocabSegmentor.extract`.

        Returns:
            "image_embeds" (B, E) of the mean of all groups. In evaluation "cell_shares"
            (B, G, h, w) in [0, 1] of every patch in the groups, and "group_embeds" (B, G, E); in
            training what `GroupingTransformer` gives of centres and prototypes.
        """
        encoder = self.image_encoder
        found = encoder((images - encoder.pixel_mean) / encoder.pixel_std)
        embeds = {"image_embeds": self.projector(found["groups"].mean(1))}
        if self.training:
            names = [x for x in found if x.startswith(("centres_", "prototypes_"))]
            return embeds | {name: found[name] for name in names}
        shares = cell_shares(found["soft_0"], found["soft_1"])
        size = (images.shape[-2] // encoder.patch_size, images.shape[-1] // encoder.patch_size)
        embeds["group_embeds"] = self.projector(found["groups"])
        return embeds | {"cell_shares": shares.unflatten(2, size)}

    def logits(
        self,
        features: Mapping[str, Tensor],
        embeddings: ClassEmbeddings,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """What is in each group, and what that shows.

        Args:
            features: of `encode` in evaluation.
            embeddings: of T classes, all that have words.
            seen: not asked for.

        Returns:
            "cell_shares" (B, G, h, w), and float32 scores (B, G, T) in [0, 1] of the classes in a
            group: their probability among all, times that among the `kept_classes` nearest to the
            image, of which alone they are above 0.
        """
        del seen
        by_group = self._class_logits(features["group_embeds"], embeddings)
        by_image = self._class_logits(features["image_embeds"], embeddings)
        # Fewer classes are filled up, for a graph that is to take any number of them.
        filled = F.pad(by_image, (0, self.kept_classes), value=-torch.inf)
        least = filled.topk(self.kept_classes, dim=-1).values[..., -1:]
        kept = (by_image >= least)[:, None]
        among_kept = by_group.masked_fill(~kept, -torch.inf).softmax(-1)
        return features["cell_shares"], among_kept * by_group.softmax(-1)

    def _class_logits(self, embeds: Tensor, embeddings: ClassEmbeddings) -> Tensor:
        vectors = embeddings.mean_over_templates().float()
        cosines = F.normalize(embeds.float(), dim=-1) @ vectors.T
        return embeddings.of_best_names(cosines) * capped_scale(self.log_scale)

    def score(
        self, features: Features, embeddings: ClassEmbeddings, vocabulary: Vocabulary
    ) -> list[Scores]:
        """Of groups, see `GroupScores`; those that show no word well enough are the rest class."""
        shares, rows = self.logits(features.tensors, embeddings)
        if vocabulary.rest is not None:
            level = self._threshold(vocabulary)
            rows = torch.stack([with_rest(row, vocabulary.rest, level) for row in rows])
        return [GroupScores(*pair) for pair in zip(shares, rows, strict=True)]

    def _threshold(self, vocabulary: Vocabulary) -> float:
        if self.rest_thresh >= 0:
            return self.rest_thresh
        published = published_threshold(vocabulary)
        return self.rest_elsewhere if published is None else published

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Contrast with the captions, and the prototype losses of both stages and of the text.

        Args:
            features: of `encode` in training.
            batch: with a "caption" in every item.

        Raises:
            ValueError: if an item has none.
        """
        captions = _captions_of(batch.items)
        tensors = features.tensors
        said = self.text_encoder.encode_captions(captions)
        losses = {
            "loss_contrastive": contrastive_loss(
                tensors["image_embeds"], said.embeds, self.log_scale
            )
        }
        if self.prototype_log_scale is None or not self.prototype_log_scale.requires_grad:
            return losses
        pairs = {}
        for k in (0, 1):
            found = tensors[f"centres_{k}"], tensors[f"prototypes_{k}"]
            pairs[f"loss_image_{k}"] = self.image_weight, *found
        if self.text_prototypes is not None:
            centres = self.text_prototypes.map_centres(tensors["centres_1"])
            pairs["loss_text"] = self.text_weight, centres, self.text_prototypes(said)
        for name, (weight, *found) in pairs.items():
            loss = prototype_loss(*found, self.prototype_log_scale, form=self.form)
            losses[name] = weight * loss
        return losses


def _captions_of(items: tuple[dict[str, Any], ...]) -> list[str]:
    captions = [item["caption"] for item in items if "caption" in item]
    if len(captions) < len(items):
        raise ValueError(
            "batched_inputs: expected 'caption', a text, in every input that PGSeg is trained on, "
            f"got it in {len(captions)} of {len(items)} inputs. STSegCaptionMapper reads it from a "
            "data set of DATASETS.PAIRS; for an answer without captions call model.eval() first."
        )
    return captions
