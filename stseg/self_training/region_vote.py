"""Pseudo-labels from SAM's own regions, named by the main branch (ours, optional).

SAM segments the image from a grid of points; each region takes the class that most of its pixels
have in the initial map, if enough agree. Regions follow edges better than refined masks, but say
nothing where SAM sees none.

Shapes: N regions, low x low cells of SAM's mask frame, H x W pixels of the image.
"""

from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from segment_anything.utils.amg import build_point_grid, calculate_stability_score
from torch import Tensor

from stseg.config import check
from stseg.self_training.decoding import Prompt, decode
from stseg.self_training.frame import Frame
from stseg.structures import IGNORE_LABEL

#: Regions brought to the image's size at once.
_CHUNK = 16


@dataclass(frozen=True)
class RegionSettings:
    """Which of SAM's masks count as regions; defaults of its automatic mask generator.

    Attributes:
        points_per_side: of the grid; its square is the number of prompts.
        batch_size: prompts decoded at once; 0 chooses by the device, see `decoding.decode`.
        min_predicted_iou: masks that SAM itself rates lower are dropped.
        min_stability: masks whose outline moves more with the threshold are dropped (IoU between
            the masks at logits -1 and 1).
        max_overlap: of two masks with a higher IoU the better rated stays.
    """

    points_per_side: int = 32
    batch_size: int = 0
    min_predicted_iou: float = 0.88
    min_stability: float = 0.95
    max_overlap: float = 0.7

    def __post_init__(self) -> None:
        check("SELF_TRAINING.REFINE.REGION_VOTE.POINTS_PER_SIDE", self.points_per_side)
        check("SELF_TRAINING.REFINE.BATCH_SIZE", self.batch_size)


@torch.inference_mode()
def find_regions(
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    embedding: Tensor,
    frame: Frame,
    settings: RegionSettings,
) -> np.ndarray:
    """Segment an image from a grid of points.

    Args:
        prompt_encoder: made for the embedding's size.
        mask_decoder: on the same device.
        embedding: (1, C, n, n) of the image.
        frame: how the image lay in the encoder's input.
        settings: filters.

    Returns:
        (N, H, W) bool, best rated first; N may be 0. Regions may overlap.
    """
    grid = build_point_grid(settings.points_per_side) * (frame.width, frame.height) - 0.5
    asked = [Prompt(points=frame.points(xy[None]), labels=(1,)) for xy in grid]
    # What lies in the padding is no part of the image.
    rows, columns = (
        -(-v * frame.low // frame.size) for v in (frame.scaled_height, frame.scaled_width)
    )
    found, ratings = [], []
    for _, logits, ious in decode(
        prompt_encoder, mask_decoder, embedding, asked, settings.batch_size
    ):
        logits, ious = logits.flatten(0, 1), ious.flatten()
        good = ious >= settings.min_predicted_iou
        logits, ious = logits[good], ious[good]
        inside = logits[:, :rows, :columns]
        stability = calculate_stability_score(inside, 0.0, 1.0)  # NaN where a mask is empty
        stable = stability >= settings.min_stability
        found.append(logits[stable])
        ratings.append(ious[stable])
    logits, ious = torch.cat(found), torch.cat(ratings)
    best = _suppress(logits[:, :rows, :columns] > 0, ious, settings.max_overlap)
    regions = np.zeros((len(best), frame.height, frame.width), bool)
    for start in range(0, len(best), _CHUNK):
        chunk = best[start : start + _CHUNK]
        regions[start : start + len(chunk)] = (frame.to_image(logits[chunk]) > 0).cpu().numpy()
    return regions


def region_vote(regions: np.ndarray, label_map: np.ndarray, purity: float) -> np.ndarray:
    """Name regions by the majority of the initial map.

    Args:
        regions: (N, H, W) bool; smaller ones lie on top of larger ones.
        label_map: (H, W) int32, IGNORE_LABEL where unknown, which counts as disagreement.
        purity: in (0, 1], the share of a region's pixels that must agree.

    Returns:
        (H, W) int32, IGNORE_LABEL where no region is named. A region without a name leaves what
        lies below it.

    Raises:
        ValueError: if the purity is outside (0, 1] or the shapes differ.
    """
    check("SELF_TRAINING.REFINE.REGION_VOTE.PURITY", purity)
    if regions.shape[1:] != label_map.shape:
        raise ValueError(
            f"Regions: expected masks of the map's shape {label_map.shape}, "
            f"got {regions.shape[1:]}."
        )
    named = np.full(label_map.shape, IGNORE_LABEL, np.int32)
    areas = np.count_nonzero(regions, axis=(1, 2))
    for index in np.argsort(-areas, kind="stable").tolist():
        labels = label_map[regions[index]]
        votes = np.bincount(labels[labels != IGNORE_LABEL])
        if len(votes) and votes.max() >= purity * areas[index]:
            named[regions[index]] = votes.argmax()
    return named


def _suppress(masks: Tensor, ratings: Tensor, max_overlap: float) -> Tensor:
    """Indices of the masks (N, h, w) bool that no better rated one overlaps, best first."""
    order = ratings.argsort(descending=True, stable=True)
    flat, kept = masks.flatten(1), []
    areas = flat.sum(1)
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        shared = (flat[order] & flat[first]).sum(1)
        union = areas[order] + areas[first] - shared
        order = order[shared <= max_overlap * union]
    return torch.stack(kept) if kept else order
