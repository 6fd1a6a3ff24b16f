"""From the main branch's probabilities of one image to its pseudo-label (paper, section 2.3).

Shapes: T classes, H x W pixels at which labels are made.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stseg.modeling.encoders.sam import SAMImageEncoder
from stseg.self_training.frame import Frame
from stseg.self_training.gate import GateDecision, InitialMasks, gate, initial_masks
from stseg.self_training.merge import merge
from stseg.self_training.pseudo_label import ClassRecord, PseudoLabel
from stseg.self_training.refiner import RefinedMask, SamRefiner
from stseg.self_training.region_vote import RegionVoter
from stseg.structures import IGNORE_LABEL


@dataclass(frozen=True)
class SamBranch:
    """The parts of SAM that make pseudo-labels; none of them is part of the model.

    Attributes:
        encoder: image encoder at the side that `frame` speaks of.
        refiner: prompts by class; None with `voter`.
        voter: names SAM's own regions instead.
        frame: "stretched" or "padded".
        shared: the model's own embedding of the whole image may be taken.
    """

    encoder: SAMImageEncoder
    refiner: SamRefiner | None
    voter: RegionVoter | None
    frame: str
    shared: bool

    def frame_of(self, height: int, width: int) -> Frame:
        """How an image of this size lies in SAM's square."""
        make = Frame.padded if self.frame == "padded" else Frame.stretched
        return make(height, width, self.encoder.input_size)

    def embed(self, image: Tensor) -> Tensor:
        """Embedding (1, C, n, n) of an image (3, H, W), RGB in [0, 255]."""
        image = image[None].float()
        if self.frame == "padded":
            image = self.frame_of(*image.shape[-2:]).image(image)
            return self.encoder.encode_padded(image)["sam"]
        return self.encoder(image)["sam"]


class Labeler:
    """Gate, refine, merge. Holds no state that an image could change."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        scoring: str = "max",
        threshold: float = 0.9,
        vetoed: Iterable[int] = (),
        sam: SamBranch | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            names: T display names.
            scoring: "max" or "mean", see `gate.initial_masks`.
            threshold: least score of a class, in [0, 1].
            vetoed: ids of classes that never become labels.
            sam: refines the masks; None takes those of the main branch.
        """
        self.names, self.scoring, self.sam = tuple(names), scoring, sam
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
            embedding: (1, C, n, n) SAM's embedding, where the model computed it; taken only if
                the frames agree.
            thresholds: (T,) instead of the one given at the start.
        """
        initial = initial_masks(probs, self.scoring)
        limits = self.thresholds if thresholds is None else thresholds
        decisions = gate(initial, limits, self.vetoed)
        accepted = [d for d in decisions if d.accepted]
        ids = [d.class_id for d in accepted]
        masks = [initial.label_map == class_id for class_id in ids]
        ious: Mapping[int, float] = {}
        if self.sam is None or not accepted:
            label_map = np.where(np.isin(initial.label_map, ids), initial.label_map, IGNORE_LABEL)
        else:
            if embedding is None or not self.sam.shared:
                embedding = self.sam.embed(image)
            frame = self.sam.frame_of(*initial.label_map.shape)
            if self.sam.voter is not None:
                label_map = self.sam.voter.vote(embedding, frame, initial.label_map)
                label_map = np.where(np.isin(label_map, ids), label_map, IGNORE_LABEL)
            else:
                refined = self._refine(embedding, frame, np.stack(masks))
                ious = {i: r.predicted_iou for i, r in zip(ids, refined, strict=True)}
                label_map = merge(
                    [r.mask for r in refined],
                    ids,
                    [d.score for d in accepted],
                    [r.predicted_iou for r in refined],
                    initial.label_map.shape,
                )
        return _with_records(initial, label_map.astype(np.int32), decisions, ious, self.names)

    def _refine(self, embedding: Tensor, frame: Frame, masks: np.ndarray) -> list[RefinedMask]:
        assert self.sam is not None and self.sam.refiner is not None
        with torch.inference_mode():
            return self.sam.refiner.refine(embedding, frame, masks)


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
