"""From the main branch's probabilities of one image to its pseudo-label (paper, section 2.3).

Shapes: T classes, H x W pixels at which labels are made.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.utils.registry import Registry
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor, nn

from stseg.modeling.encoders import SAMImageEncoder
from stseg.self_training.frame import Frame
from stseg.self_training.gate import GateDecision, InitialMasks, floors_of, gate, initial_masks
from stseg.self_training.merge import merge
from stseg.self_training.pseudo_label import ClassRecord, PseudoLabel
from stseg.self_training.refiner import PromptSettings, SamRefiner
from stseg.self_training.region_vote import RegionSettings, find_regions, region_vote
from stseg.self_training.survey import Survey
from stseg.structures import IGNORE_LABEL

LABELER_REGISTRY = Registry("LABELER")
LABELER_REGISTRY.__doc__ = """
Registry of what makes the pseudo-label of one image, chosen by SELF_TRAINING.LABELER.

An entry is called with the config, the `Target` and the bare model, and must return a `Labeler`,
usually of a class of one's own with another `label`.
"""


@dataclass(frozen=True)
class SamBranch:
    """The parts of SAM that make pseudo-labels; none of them is part of the model.

    Attributes:
        encoder: image encoder at the size that labels are made with.
        prompt_encoder: made for that size.
        mask_decoder: on the same device.
        prompts: how masks become prompts.
        frame: "stretched" or "padded".
        vote: names SAM's own regions instead of refining masks; None refines.
        purity: of a region, see `region_vote`.
    """

    encoder: SAMImageEncoder
    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder
    prompts: PromptSettings
    frame: str = "stretched"
    vote: RegionSettings | None = None
    purity: float = 0.8

    def frame_of(self, height: int, width: int) -> Frame:
        """How an image of this size lies in SAM's square."""
        make = Frame.padded if self.frame == "padded" else Frame.stretched
        return make(height, width, self.encoder.input_size, self.encoder.patch_size // 4)

    def embed(self, image: Tensor, given: Tensor | None) -> Tensor:
        """Embedding (1, C, n, n) of an image (3, H, W), RGB in [0, 255].

        Args:
            image: the picture.
            given: the embedding that the model computed of the stretched image, if it did.
        """
        if self.frame == "padded":
            return self.encoder.encode_padded(image)
        return self.encoder(image[None].float())["sam"] if given is None else given


def own_sam_encoder(model: nn.Module) -> SAMImageEncoder | None:
    """The model's own encoder of SAM, where it has one that gives what SAM's decoder takes.

    EBSeg's is none: it has no neck, and its positions train.
    """
    encoder = getattr(model, "sam_encoder", None)
    return encoder if isinstance(encoder, SAMImageEncoder) else None


class Labeler:
    """Gate, refine, merge. Holds no state that an image could change.

    Attributes:
        quantile: of a class's scores over all images, for `limits_of`; None for the config's own.
        cure: what to do where nothing was labelled, as the end of a sentence; "" tells of the gate.
    """

    quantile: float | None = None
    cure = ""

    def __init__(
        self,
        names: Sequence[str],
        *,
        scoring: str = "won",
        threshold: float = 0.9,
        min_pixel: float = 0.5,
        vetoed: Iterable[int] = (),
        sam: SamBranch | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            names: T display names.
            scoring: "won", "max" or "mean", see `gate.initial_masks`.
            threshold: least score of a class, in [0, 1].
            min_pixel: least probability of a pixel of an accepted class, see `gate.floors_of`.
            vetoed: ids of classes that never become labels.
            sam: refines the masks; None takes those of the main branch.
        """
        self.names, self.scoring, self.sam = tuple(names), scoring, sam
        self.min_pixel = min_pixel
        self.thresholds = np.full(len(self.names), threshold, dtype=np.float32)
        self.vetoed = frozenset(vetoed)

    def label(
        self,
        probs: Tensor,
        image: Tensor,
        embedding: Tensor | None = None,
        thresholds: np.ndarray | None = None,
    ) -> PseudoLabel:
        """Make the pseudo-label of one image.

        Args:
            probs: (T, H, W) probabilities of the main branch.
            image: (3, h, w) RGB in [0, 255], the same picture at any size.
            embedding: (1, C, n, n) of the stretched image, where the model computed it.
            thresholds: (T,) instead of the one given at the start.
        """
        initial = initial_masks(probs, self.scoring)
        limits = self.thresholds if thresholds is None else thresholds
        decisions = gate(initial, limits, self.vetoed, self.min_pixel)
        accepted = [d for d in decisions if d.accepted]
        ids = [d.class_id for d in accepted]
        sure = initial.above(floors_of(limits, self.min_pixel))
        ious: Mapping[int, float] = {}
        if self.sam is None or not accepted:
            label_map = np.where(np.isin(sure, ids), sure, IGNORE_LABEL)
        else:
            embedding = self.sam.embed(image, embedding)
            if self.sam.vote is not None:
                label_map = self._vote(self.sam, embedding, sure, ids)
            else:
                label_map, ious = self._refine(self.sam, embedding, sure, accepted)
        return _with_records(initial, label_map.astype(np.int32), decisions, ious, self.names)

    @property
    def threshold(self) -> float:
        """Of the gate, where no quantile lowers it."""
        return round(float(self.thresholds[0]), 6)  # float32 has 0.9 as 0.89999998

    # What a class of one's own may do otherwise.

    def label_item(
        self,
        item: Mapping[str, Any],
        probs: Tensor,
        image: Tensor,
        embedding: Tensor | None = None,
        thresholds: np.ndarray | None = None,
    ) -> PseudoLabel:
        """As `label`, of a model input whose "file_name" may tell more."""
        return self.label(probs, image, embedding, thresholds)

    def survey_item(
        self,
        index: int,
        item: Mapping[str, Any],
        probs: Tensor,
        image: Tensor,
        embedding: Tensor | None = None,
    ) -> Survey:
        """Scores of one image, that of an index, which thresholds over all images hang on."""
        return Survey.of(index, initial_masks(probs, self.scoring))

    def limits_of(self, survey: Survey, quantile: float) -> np.ndarray:
        """(T,) float32 thresholds that follow from the scores of all images."""
        return survey.thresholds(len(self.names), self.threshold, quantile)

    def facts(self) -> dict[str, Any]:
        """What decides labels besides config and target, as JSON can hold it."""
        return {}

    @staticmethod
    def _refine(
        sam: SamBranch, embedding: Tensor, initial: np.ndarray, accepted: Sequence[GateDecision]
    ) -> tuple[np.ndarray, dict[int, float]]:
        """Label map, and SAM's own estimate per class id."""
        ids = [d.class_id for d in accepted]
        masks = np.stack([initial == class_id for class_id in ids])
        refiner = SamRefiner(sam.prompt_encoder, sam.mask_decoder, settings=sam.prompts)
        refined = refiner.refine(embedding, sam.frame_of(*initial.shape), masks)
        ious = [r.predicted_iou for r in refined]
        scores = [d.score for d in accepted]
        merged = merge([r.mask for r in refined], ids, scores, ious, initial.shape)
        return merged, dict(zip(ids, ious, strict=True))

    @staticmethod
    def _vote(
        sam: SamBranch, embedding: Tensor, initial: np.ndarray, ids: Sequence[int]
    ) -> np.ndarray:
        frame = sam.frame_of(*initial.shape)
        regions = find_regions(sam.prompt_encoder, sam.mask_decoder, embedding, frame, sam.vote)
        named = region_vote(regions, initial, sam.purity)
        return np.where(np.isin(named, ids), named, IGNORE_LABEL)


def _with_records(
    initial: InitialMasks,
    label_map: np.ndarray,
    decisions: Sequence[GateDecision],
    ious: Mapping[int, float],
    names: Sequence[str],
) -> PseudoLabel:
    refined = np.bincount(label_map[label_map >= 0], minlength=len(names))
    records = tuple(
        ClassRecord(
            class_id=d.class_id,
            name=names[d.class_id],
            score=float(d.score),
            accepted=d.accepted,
            reason=d.reason,
            initial_pixels=int(d.pixels),
            refined_pixels=int(refined[d.class_id]),
            predicted_iou=ious.get(d.class_id),
        )
        for d in decisions
    )
    return PseudoLabel(label_map, initial.label_map, records)
