"""Pseudo-labels of unseen classes by CLIP on crops of regions (ours, optional).

Where ground truth of seen classes is given it stays as it is, and only its void is named, by the
rules of `region_naming`; without it all of a picture is void. A region's score is the root of its
name's probability times the model's mean confidence in it, and what its pixels weigh in training;
ground truth weighs 1.

Shapes: T classes, H x W pixels at which labels are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from stseg.checkpoint import weights_digest
from stseg.config import check
from stseg.modeling.encoders import build_clip
from stseg.modeling.text import ClassEmbeddings, CLIPTextEncoder, build_text_encoder
from stseg.render import labels_at_size
from stseg.self_training.crop_encoder import CropEncoder
from stseg.self_training.gate import InitialMasks, below, class_thresholds, initial_masks
from stseg.self_training.ground_truth import GroundTruth, load_ground_truth
from stseg.self_training.labeler import LABELER_REGISTRY, Labeler, SamBranch
from stseg.self_training.prompts import Part, split
from stseg.self_training.pseudo_label import ClassRecord, PseudoLabel
from stseg.self_training.region_naming import (
    NamingRules,
    RegionName,
    candidates,
    name_regions,
    paint,
    void_parts,
)
from stseg.self_training.region_vote import find_regions
from stseg.self_training.sam_branch import build_sam_branch, region_settings
from stseg.self_training.survey import Survey
from stseg.self_training.target import Target
from stseg.structures import IGNORE_LABEL, Vocabulary

#: What a record says of a class that the ground truth gives.
GIVEN = "ground truth"


@dataclass(frozen=True)
class NamedRegion:
    """A region of an image, what it is called, and how sure that is.

    Attributes:
        part: its void pixels.
        name: also where it is refused.
        score: in [0, 1].
    """

    part: Part
    name: RegionName
    score: float


@dataclass(frozen=True)
class _Found:
    """All that is found in one image; `presence` is (T,), None where nothing asked for it."""

    initial: InitialMasks
    regions: Sequence[NamedRegion] = ()
    presence: np.ndarray | None = None
    candidates: tuple[int, ...] = ()


@LABELER_REGISTRY.register()
class VisionLanguageLabeler(Labeler):
    """Ground truth where there is any, and names by CLIP in its void."""

    cure = (
        "lower SELF_TRAINING.VLM.MIN_PRESENCE, MIN_PROB, MIN_MARGIN or MIN_PIXELS, or name classes "
        "that are in the images."
    )

    @configurable
    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        encoder: CropEncoder,
        embeddings: ClassEmbeddings,
        logit_scale: float,
        rules: NamingRules | None = None,
        keep: float = 0.75,
        vetoed: Sequence[int] = (),
        truth: GroundTruth | None = None,
        sam: SamBranch | None = None,
        text_digest: str = "",
        weighted: bool = True,
    ) -> None:
        """Keep the parts.

        Args:
            vocabulary: T classes; those that are not marked as seen are to be found.
            encoder: of crops, on the device of the probabilities.
            embeddings: of the vocabulary, of the same CLIP.
            logit_scale: CLIP's own.
            rules: limits; None takes the usual ones.
            keep: least share of a class's regions over all images that is kept, in (0, 1].
            vetoed: ids of classes that no region is named after.
            truth: label maps that are trusted; None: all is void.
            sam: its regions are named, by its `vote`; None: parts of the model's best class.
            text_digest: of a text tower that is not the model's own.
            weighted: labels of a region count as much as it scores; else like any.
        """
        super().__init__(vocabulary.names, threshold=0.0, vetoed=vetoed, sam=sam)
        self.quantile = 1 - check("SELF_TRAINING.VLM.KEEP", keep)
        self.rules, self.weighted = rules or NamingRules(), weighted
        self._encoder, self._truth, self._text_digest = encoder, truth, text_digest
        self._embeddings, self._scale = embeddings, logit_scale
        self._rows = embeddings.mean_over_templates()
        marks = vocabulary.seen or (False,) * len(vocabulary)
        self._seen = frozenset(k for k, is_seen in enumerate(marks) if is_seen)
        self._unseen = frozenset(range(len(vocabulary))) - self._seen - self.vetoed

    @classmethod
    def from_config(cls, cfg: CfgNode, target: Target, model: nn.Module) -> dict[str, Any]:
        """From SELF_TRAINING.VLM, and the CLIP of MODEL.CLIP with the model's own text tower."""
        vlm, device = cfg.SELF_TRAINING.VLM, next(model.parameters()).device
        truth = load_ground_truth(vlm.GROUND_TRUTH, target) if vlm.GROUND_TRUTH else None
        clip = build_clip(cfg)
        encoder = CropEncoder(clip.visual, batch_size=vlm.BATCH_SIZE).to(device)
        text, text_digest = getattr(model, "text_encoder", None), ""
        if not isinstance(text, CLIPTextEncoder):
            text = build_text_encoder(cfg, clip).to(device)
            text_digest = weights_digest(text.state_dict())
        sam = None
        if vlm.PROPOSALS == "sam":
            sam = replace(build_sam_branch(cfg, model), vote=region_settings(cfg))
        return {
            "vocabulary": target.vocabulary,
            "encoder": encoder,
            "embeddings": text(target.vocabulary),
            "logit_scale": float(text.logit_scale),
            "rules": NamingRules(
                min_void=vlm.MIN_VOID,
                min_pixels=vlm.MIN_PIXELS,
                min_presence=vlm.MIN_PRESENCE,
                max_candidates=vlm.MAX_CANDIDATES,
                min_prob=vlm.MIN_PROB,
                min_margin=vlm.MIN_MARGIN,
            ),
            "keep": vlm.KEEP,
            "vetoed": sorted(target.vetoed),
            "truth": truth,
            "sam": sam,
            "text_digest": text_digest,
            "weighted": vlm.WEIGHTED,
        }

    def facts(self) -> dict[str, Any]:
        """CLIP's weights, limits, the classes to be found, and the ground truth."""
        return {
            "clip": weights_digest(self._encoder.state_dict()),
            "text": self._text_digest,
            "rules": asdict(self.rules),
            "named": sorted(self._unseen),
            **({"weighted": True} if self.weighted else {}),  # else as before there were weights
            "ground_truth": self._truth.digest if self._truth else "",
        }

    def label_item(
        self,
        item: Mapping[str, Any],
        probs: Tensor,
        image: Tensor,
        embedding: Tensor | None = None,
        thresholds: np.ndarray | None = None,
    ) -> PseudoLabel:
        """As `label`, with the ground truth of the item's file."""
        return self.label(probs, image, embedding, thresholds, self._known(item))

    def label(
        self,
        probs: Tensor,
        image: Tensor,
        embedding: Tensor | None = None,
        thresholds: np.ndarray | None = None,
        known: np.ndarray | None = None,
    ) -> PseudoLabel:
        """Make the pseudo-label of one image.

        Args:
            probs: (T, H, W) probabilities of the main branch.
            image: (3, h, w) RGB in [0, 255], the same picture at any size.
            embedding: (1, C, n, n) of the stretched image, where the model computed it.
            thresholds: (T,) least score of a region of each class.
            known: (h, w) int32 ground truth of any size, IGNORE_LABEL where void.

        Returns:
            With a map of the ground truth's size, where there is one.
        """
        found = self._find(probs, image, embedding, known)
        limits = self.thresholds if thresholds is None else thresholds
        regions = [_held_against(region, limits) for region in found.regions]
        taken = [region for region in regions if not region.name.reason]
        scores = [region.score for region in taken]
        parts = [region.part for region in taken]
        top = paint(parts, range(len(parts)), scores, found.initial.label_map.shape)
        if known is not None:
            top = labels_at_size(top, known.shape)
        # IGNORE_LABEL, where no region lies, finds the last.
        label_map = np.array([*(r.name.class_id for r in taken), IGNORE_LABEL], np.int32)[top]
        weights = np.array([*scores, 1.0], np.float32)[top] if self.weighted and taken else None
        if known is not None:
            label_map = np.where(known != IGNORE_LABEL, known, label_map).astype(np.int32)
            if weights is not None:
                weights = np.where(known != IGNORE_LABEL, np.float32(1), weights)
        records = self._records(replace(found, regions=regions), label_map, known)
        return PseudoLabel(label_map, found.initial.label_map, records, weights)

    def survey_item(
        self,
        index: int,
        item: Mapping[str, Any],
        probs: Tensor,
        image: Tensor,
        embedding: Tensor | None = None,
    ) -> Survey:
        """A pair for each region that gets a name."""
        found = self._find(probs, image, embedding, self._known(item))
        named = [region for region in found.regions if not region.name.reason]
        return Survey(
            np.full(len(named), index, np.int32),
            np.array([region.name.class_id for region in named], np.int32),
            np.array([region.score for region in named], np.float32),
        )

    def limits_of(self, survey: Survey, quantile: float) -> np.ndarray:
        """(T,) float32: the score of the last region that is kept of each class."""
        per_class = [survey.scores[survey.classes == k] for k in range(len(self.names))]
        return class_thresholds(per_class, 1.0, quantile)

    def _known(self, item: Mapping[str, Any]) -> np.ndarray | None:
        """Ground truth of a model input.

        Raises:
            ValueError: if it is of another size than the image.
        """
        known = self._truth.of(item["file_name"]) if self._truth else None
        size = (item["height"], item["width"])
        if known is not None and known.shape != size:
            raise ValueError(
                f"{item['file_name']}: expected ground truth of the image's {size[0]} x {size[1]} "
                f"pixels, got {known.shape[0]} x {known.shape[1]}. Check "
                "SELF_TRAINING.VLM.GROUND_TRUTH."
            )
        return known

    def _find(
        self, probs: Tensor, image: Tensor, embedding: Tensor | None, known: np.ndarray | None
    ) -> _Found:
        initial = initial_masks(probs, self.scoring)
        shape = initial.label_map.shape
        void = np.ones(shape, bool)
        if known is not None:
            void = labels_at_size(known, shape) == IGNORE_LABEL
        if not self._unseen or np.count_nonzero(void) < self.rules.min_pixels:
            return _Found(initial)
        parts = void_parts(self._proposals(initial, image, embedding), void, self.rules)
        if not parts:
            return _Found(initial)
        views = self._logits(self._encoder([self._encoder.views(image)]))
        presence = views.softmax(1).amax(0).cpu().numpy()
        chosen = candidates(presence, self._unseen, self.rules)
        if not chosen:
            return _Found(initial, presence=presence)
        copies = (self._encoder.copies(image, part, shape) for part in parts)
        embeds = self._encoder(copies).unflatten(0, (len(parts), -1)).mean(1)
        logits = self._logits(nn.functional.normalize(embeds, dim=-1)).cpu().numpy()
        names = name_regions(logits, self._seen, chosen, self.rules)
        regions = [
            NamedRegion(part, name, _score(part, name, initial.confidence))
            for part, name in zip(parts, names, strict=True)
        ]
        return _Found(initial, regions, presence, chosen)

    def _proposals(
        self, initial: InitialMasks, image: Tensor, embedding: Tensor | None
    ) -> Iterator[np.ndarray]:
        """Regions (H, W) bool, one by one."""
        labels = initial.label_map
        if self.sam is not None:
            embedding = self.sam.embed(image, embedding)
            frame = self.sam.frame_of(*labels.shape)
            parts = (self.sam.prompt_encoder, self.sam.mask_decoder)
            yield from find_regions(*parts, embedding, frame, self.sam.vote)
            return
        masks = (labels == class_id for class_id in np.unique(labels))
        pieces = (split(mask, min_share=0.0, max_parts=mask.size) for mask in masks)
        for part in chain.from_iterable(pieces):
            if part.area >= self.rules.min_pixels:
                yield part.full(labels.shape)

    @torch.no_grad()
    def _logits(self, embeds: Tensor) -> Tensor:
        """(N, T) of unit embeddings (N, C), at CLIP's scale."""
        cosines = embeds @ self._rows.to(embeds).T
        return self._scale * self._embeddings.of_best_names(cosines)

    def _records(
        self, found: _Found, label_map: np.ndarray, known: np.ndarray | None
    ) -> tuple[ClassRecord, ...]:
        """What became of each class that the model, the ground truth or CLIP speaks of."""
        shape, count = found.initial.label_map.shape, len(self.names)
        initial = np.bincount(found.initial.label_map.ravel(), minlength=count)
        small = labels_at_size(label_map, shape)
        refined = np.bincount(small[small != IGNORE_LABEL], minlength=count)
        given = frozenset() if known is None else frozenset(np.unique(known).tolist())
        regions = sorted(found.regions, key=lambda region: region.score)
        regions.sort(key=lambda region: not region.name.reason)  # those that are taken come last
        best = {region.name.class_id: region for region in regions}
        told = set(np.flatnonzero(initial + refined).tolist()) | set(found.candidates)
        records = []
        for class_id in sorted(told | given - {IGNORE_LABEL}):
            region, is_given = best.get(class_id), class_id in given
            reason = "" if is_given else self._why_not(class_id, region, found)
            records.append(
                ClassRecord(
                    class_id=class_id,
                    name=self.names[class_id],
                    score=1.0 if is_given else region.score if region else 0.0,
                    accepted=not reason,
                    reason=reason,
                    initial_pixels=int(initial[class_id]),
                    refined_pixels=int(refined[class_id]),
                    remark=GIVEN if is_given else "",
                )
            )
        return tuple(records)

    def _why_not(self, class_id: int, region: NamedRegion | None, found: _Found) -> str:
        """Why no region got a class, in words; "" where one did."""
        if class_id in self.vetoed:
            return "vetoed"
        if class_id in self._seen:
            return "seen: ground truth alone gives it"
        if found.presence is None:
            return "no region to name"
        if class_id not in found.candidates:
            presence, least = float(found.presence[class_id]), self.rules.min_presence
            if presence < least:
                return f"presence {below(presence, least)}"
            return f"not among the {self.rules.max_candidates} most present"
        return region.name.reason if region else "no region is called so"


def _held_against(region: NamedRegion, limits: np.ndarray) -> NamedRegion:
    """Refused where its score is below that of its class."""
    score, limit = np.float32(region.score), limits[region.name.class_id]
    if region.name.reason or score >= limit:
        return region
    reason = f"score {below(float(score), float(limit))}"
    return replace(region, name=replace(region.name, reason=reason))


def _score(part: Part, name: RegionName, confidence: np.ndarray) -> float:
    sure = float(confidence[part.window][part.mask].mean())
    return min(1.0, (name.probability * sure) ** 0.5)
