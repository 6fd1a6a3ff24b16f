"""Refinement of initial masks by SAM's frozen prompt encoder and mask decoder (STSeg, section 2.3).

The paper prompts SAM with the masks of the main branch. Alone they are known to fail, so the
default splits them and adds a box and points (see `prompts`); `PromptSettings(("mask",))` is the
paper to the letter. All prompts of all classes of an image share one embedding and go through the
decoder in chunks. Of SAM's three answers the one of the best predicted IoU is taken while still
small, and only that one is brought to the image's size.

Shapes: K masks, N prompts, C channels, n x n cells of the embedding, low = 4 n cells of SAM's mask
frame, H x W pixels of the image.
"""

from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor
from torch.nn import functional as F

from stseg.config import check
from stseg.self_training import prompts
from stseg.self_training.decoding import Prompt, best_of, decode
from stseg.self_training.frame import Frame
from stseg.self_training.prompts import Part


@dataclass(frozen=True)
class PromptSettings:
    """How masks become prompts, and which answers are believed.

    Attributes:
        kinds: some of "mask", "box", "points" and "parts". With "parts" a mask is split into its
            connected parts, which are refined each for itself and joined again; mask prompts then
            fade from the part's middle. Without, the whole class is one prompt and its mask hard.
        batch_size: prompts decoded at once; 0 chooses by the device, see `decoding.decode`.
        min_iou_with_initial: in [0, 1]; a part whose refined mask overlaps its initial mask less
            keeps the initial one. A mask that fled its prompt is SAM's usual failure. 0 believes
            every answer, as the paper does.
        min_part_share: parts below this share of their class's pixels are dropped, unlabelled.
        max_parts: most parts of a class; the largest stay.
        box_step: strip by which a box may grow, as a share of its side.
        box_rounds: strips at most on each side; 0 keeps boxes tight.
    """

    kinds: tuple[str, ...] = ("parts", "mask", "box", "points")
    batch_size: int = 0
    min_iou_with_initial: float = 0.3
    min_part_share: float = 0.02
    max_parts: int = 8
    box_step: float = 0.1
    box_rounds: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(self.kinds))
        check("SELF_TRAINING.REFINE.PROMPTS", self.kinds)
        check("SELF_TRAINING.REFINE.BATCH_SIZE", self.batch_size)
        check("SELF_TRAINING.REFINE.MIN_IOU", self.min_iou_with_initial)
        if self.max_parts < 1 or not 0.0 <= self.min_part_share <= 1.0:
            raise ValueError(
                "max_parts, min_part_share: expected at least 1 part and a share in [0, 1], got "
                f"{self.max_parts} and {self.min_part_share}."
            )


@dataclass(frozen=True, eq=False)
class RefinedMask:
    """One mask after refinement.

    Attributes:
        mask: (H, W) bool.
        predicted_iou: SAM's estimate of its quality in [0, 1], mean over the parts by their area;
            a part that kept its initial mask counts with no more than its IoU with SAM's. 0 for
            an empty mask.
    """

    mask: np.ndarray
    predicted_iou: float


class SamRefiner:
    """Asks SAM about all masks of an image in few passes of its decoder."""

    def __init__(
        self,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        *,
        settings: PromptSettings | None = None,
    ):
        """Take SAM's parts, made for the input size in use (see `encoders.sam.decoder_parts`)."""
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.settings = settings or PromptSettings()

    @torch.inference_mode()
    def refine(self, embedding: Tensor, frame: Frame, masks: np.ndarray) -> list[RefinedMask]:
        """Refine masks of one image.

        Args:
            embedding: (1, C, n, n) of SAM's image encoder, float, on the decoder's device.
            frame: how the image lay in the encoder's input.
            masks: (K, H, W) bool, one per class; empty ones and none at all are allowed.

        Returns:
            K masks in the same order.

        Raises:
            ValueError: if embedding, frame and masks do not fit each other.
            FloatingPointError: if SAM answers with numbers that are not finite.
        """
        self._check(embedding, frame, masks)
        parts, asked = self.prompts_for(embedding, frame, masks)
        joined = np.zeros(masks.shape, bool)
        quality, area = np.zeros((2, len(masks)))
        for indices, logits, ious in decode(
            self.prompt_encoder, self.mask_decoder, embedding, asked, self.settings.batch_size
        ):
            # Chosen while small: bringing all three to the image's size would triple the work.
            logits, ious = best_of(logits, ious)
            if not bool(torch.isfinite(ious).all()):
                raise FloatingPointError(
                    "SAM's predicted IoU: expected finite numbers, got NaN or infinity. "
                    "Check MODEL.SAM.CHECKPOINT and the precision."
                )
            refined = (frame.to_image(logits) > 0).cpu().numpy()
            for index, found, iou in zip(indices, refined, ious.tolist(), strict=True):
                k, part = parts[index]
                overlap = _iou(found, part)
                iou = min(max(iou, 0.0), 1.0)
                if overlap < self.settings.min_iou_with_initial:
                    joined[k][part.window] |= part.mask
                    iou = min(iou, overlap)
                else:
                    joined[k] |= found
                quality[k] += iou * part.area
                area[k] += part.area
        ratings = quality / np.maximum(area, 1)
        return [RefinedMask(*found) for found in zip(joined, ratings, strict=True)]

    @torch.inference_mode()
    def prompts_for(
        self, embedding: Tensor, frame: Frame, masks: np.ndarray
    ) -> tuple[list[tuple[int, Part]], list[Prompt]]:
        """What `refine` asks SAM.

        Args:
            embedding: (1, C, n, n).
            frame: how the image lay in the encoder's input.
            masks: (K, H, W) bool.

        Returns:
            N parts, each with the index of its mask, and a prompt for each.
        """
        parts = [(k, part) for k, mask in enumerate(masks) for part in self._parts(mask)]
        units = None
        if "box" in self.settings.kinds and self.settings.box_rounds:
            units = F.normalize(embedding[0].float(), dim=0).cpu().numpy()
        return parts, [self._prompt(part, masks[k], frame, units) for k, part in parts]

    def _check(self, embedding: Tensor, frame: Frame, masks: np.ndarray) -> None:
        side = self.prompt_encoder.image_embedding_size
        if embedding.ndim != 4 or len(embedding) != 1 or embedding.shape[-2:] != tuple(side):
            raise ValueError(
                f"SAM embedding: expected (1, C, {side[0]}, {side[1]}), "
                f"got {tuple(embedding.shape)}. Make the decoder's parts for this input size."
            )
        sizes = (frame.size, frame.size)
        if sizes != tuple(self.prompt_encoder.input_image_size) or frame.low != 4 * side[0]:
            raise ValueError(
                f"Frame: expected SAM's input of {self.prompt_encoder.input_image_size} pixels, "
                f"got {frame.size}. Use the size at which the embedding was made."
            )
        shape = frame.height, frame.width
        if masks.ndim != 3 or masks.shape[1:] != shape or masks.dtype != bool:
            raise ValueError(
                f"Initial masks: expected (K, {shape[0]}, {shape[1]}) bool, "
                f"got {masks.shape} {masks.dtype}."
            )

    def _parts(self, mask: np.ndarray) -> list[Part]:
        if "parts" not in self.settings.kinds:
            return prompts.whole(mask)
        return prompts.split(
            mask,
            min_share=self.settings.min_part_share,
            max_parts=self.settings.max_parts,
        )

    def _prompt(
        self, part: Part, class_mask: np.ndarray, frame: Frame, units: np.ndarray | None
    ) -> Prompt:
        kinds, points, labels, box, mask = self.settings.kinds, None, (), None, None
        share = frame.mask_prompt(part.full((frame.height, frame.width)))
        centre = prompts.positive_point(part)
        if "points" in kinds:
            outside = prompts.negative_point(part, class_mask)
            labels = (1,) if outside is None else (1, 0)
            points = frame.points(np.array([centre, outside][: len(labels)]))
        if "box" in kinds:
            corners = part.box
            if units is not None:
                corners = prompts.grow_box(
                    part.box,
                    prompts.alike(share, frame, units),
                    frame,
                    step=self.settings.box_step,
                    rounds=self.settings.box_rounds,
                )
            box = frame.boxes(np.array(corners))
        if "mask" in kinds and "parts" in kinds:
            mask = prompts.gaussian_mask(share, frame, centre, part.area)
        elif "mask" in kinds:
            mask = prompts.hard_mask(share)
        return Prompt(points, labels, box, mask)


def _iou(found: np.ndarray, part: Part) -> float:
    """IoU of a mask (H, W) bool with a part."""
    shared = int(np.count_nonzero(found[part.window] & part.mask))
    return shared / (int(np.count_nonzero(found)) + part.area - shared)
