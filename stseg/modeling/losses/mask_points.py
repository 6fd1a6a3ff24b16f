"""Points that masks are compared at (Cheng et al., Mask2Former, CVPR 2022, section 3.3).

Coordinates are x and y, [0, 1] from border to border, so that masks of any size agree on them.
"""

from typing import Protocol

import torch
from detectron2.projects.point_rend.point_features import (
    get_uncertain_point_coords_with_randomness,
    point_sample,
)
from torch import Tensor

from stseg.modeling.losses.mask_targets import MaskTargets


class PointSampler(Protocol):
    """Chooses points."""

    def uniform(self, mask_logits: Tensor) -> Tensor:
        """For matching: (1, P, 2), the same for all masks (Q, h, w) of an image."""

    def uncertain(self, mask_logits: Tensor) -> Tensor:
        """For losses: (N, P, 2), for each of the masks (N, h, w) its own."""


class RandomPoints:
    """Uniform points, and those out of many uniform ones at which a mask is least sure."""

    def __init__(
        self, num_points: int = 12544, *, oversample: float = 3.0, importance: float = 0.75
    ):
        """Set the numbers; the defaults are published (PointRend's for all but the count).

        Args:
            num_points: points P per mask.
            oversample: candidates per point, at least 1.
            importance: share of points in [0, 1] that are chosen for the logit nearest to 0; the
                others are uniform.
        """
        self.num_points, self.oversample, self.importance = num_points, oversample, importance

    def uniform(self, mask_logits: Tensor) -> Tensor:
        """See `PointSampler`."""
        return torch.rand(1, self.num_points, 2, device=mask_logits.device)

    @torch.no_grad()
    def uncertain(self, mask_logits: Tensor) -> Tensor:
        """See `PointSampler`."""
        return get_uncertain_point_coords_with_randomness(
            mask_logits[:, None].float(),
            lambda logits: -logits.abs(),
            self.num_points,
            self.oversample,
            self.importance,
        )


def read_at(masks: Tensor, points: Tensor) -> Tensor:
    """Values of masks at points, bilinear, in float32.

    Args:
        masks: (N, h, w), bool or of any float type.
        points: (N, P, 2), or (1, P, 2) for the same points in all.

    Returns:
        (N, P).
    """
    masks = masks.float()
    if len(points) == 1:
        return point_sample(masks[None], points, align_corners=False)[0]
    return point_sample(masks[:, None], points, align_corners=False)[:, 0]


def read_truth(target: MaskTargets, points: Tensor) -> tuple[Tensor, Tensor | None]:
    """What the masks of an image should be at points, and how much of that is known.

    A point between pixels that are known and others has the truth of those that are: a mask does
    not fade where its image is not labelled any further.

    Args:
        target: T masks.
        points: (T, P, 2), or (1, P, 2) for the same points in all.

    Returns:
        (T, P) float32 in [0, 1]; and (T, P), or (1, P), likewise: None where all is known.
    """
    truth = read_at(target.masks, points)
    if target.known is None:
        return truth, None
    known = read_at(target.known[None], points.reshape(1, -1, 2)).reshape(points.shape[:2])
    return (truth / known).nan_to_num(0.0).clamp(max=1), known


def read_targets(
    targets: list[tuple[MaskTargets, Tensor]], points: Tensor
) -> tuple[Tensor, Tensor | None]:
    """`read_truth` of chosen masks of some images, of which each has a size of its own.

    Args:
        targets: with the (n_i,) indices of the chosen masks of each image.
        points: (N, P, 2), N being all n_i together, image by image.

    Returns:
        (N, P) float32 in [0, 1] each; None for the second where all is known in all images.
    """
    parts = points.split([len(chosen) for _, chosen in targets])
    found = [
        # Of one mask alone, the points are its own and shared at once.
        read_truth(target._replace(masks=target.masks[chosen]), part)
        for (target, chosen), part in zip(targets, parts, strict=True)
        if len(chosen)
    ]
    truth = torch.cat([x for x, _ in found])
    if all(known is None for _, known in found):
        return truth, None
    return truth, torch.cat([torch.ones_like(x) if k is None else k for x, k in found])


def read_weights(targets: list[tuple[MaskTargets, Tensor]], points: Tensor) -> Tensor | None:
    """How much the pixels of points count, see `read_targets`: (N, P) float32, None for 1."""
    if all(target.weights is None for target, _ in targets):
        return None
    parts = points.split([len(chosen) for _, chosen in targets])
    found = []
    for (target, _), part in zip(targets, parts, strict=True):
        weights = torch.ones_like(part[..., 0])
        if target.weights is not None and len(part):
            of_pixels, how = (
                target.weights[None, None],
                {"mode": "nearest", "padding_mode": "border"},
            )
            flat = point_sample(of_pixels, part.reshape(1, -1, 2), align_corners=False, **how)
            weights = flat.reshape(part.shape[:2])
        found.append(weights)
    return torch.cat(found)
