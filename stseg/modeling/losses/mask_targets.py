"""What the masks of an image should be.

Shapes: T masks, H x W pixels of the padded image, K classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stseg.modeling.losses.mask_losses import weighted_mean
from stseg.structures import IGNORE_LABEL


class MaskTargets(NamedTuple):
    """One binary mask per class that an image shows.

    Attributes:
        masks: (T, H, W) bool, in the frame that mask logits cover: the image with its padding.
        labels: (T,) int64 class ids in [0, K).
        known: (H, W) bool, where a label says anything; masks lie inside, and from the rest nothing
            is learnt. None for everywhere: what is in no mask belongs to no class.
        weights: (H, W) float32 in [0, 1], how much what is said of each pixel counts; None for 1.
    """

    masks: Tensor
    labels: Tensor
    known: Tensor | None = None
    weights: Tensor | None = None

    def counted(self) -> Tensor | None:
        """(H, W) `weights` where `known`, and 0 elsewhere; None where all counts alike."""
        if self.known is None or self.weights is None:
            return self.weights if self.known is None else self.known
        return self.known * self.weights

    def mask_weights(self) -> Tensor | None:
        """(T,) float32, means of `weights` inside the masks; None for 1."""
        if self.weights is None:
            return None
        return weighted_mean(self.weights.flatten(), self.masks.flatten(1).float())


def masks_of_labels(
    sem_seg: Tensor,
    weights: Tensor | None = None,
    *,
    ignore_label: int = IGNORE_LABEL,
    ignored: str = "negative",
) -> MaskTargets:
    """Take a label map apart.

    Args:
        sem_seg: (H, W) int64 class ids, `ignore_label` where unlabelled: in no mask.
        weights: of the targets.
        ignore_label: id of unlabelled pixels.
        ignored: "negative" counts them as belonging to no class, as published; "masked" as unknown.

    Returns:
        A mask per class that occurs, in the order of ids; none where all is unlabelled.
    """
    labelled = sem_seg != ignore_label
    labels = sem_seg[labelled].unique()
    known = labelled if ignored == "masked" else None
    return MaskTargets(sem_seg == labels[:, None, None], labels, known, weights)


def check_targets(targets: list[MaskTargets], num_images: int, num_classes: int) -> None:
    """Refuse targets that cannot belong to the predictions.

    Raises:
        ValueError: if there are not as many as images, or an id is outside [0, `num_classes`).
    """
    if len(targets) != num_images:
        raise ValueError(f"targets: expected one per image ({num_images}), got {len(targets)}.")
    labels = torch.cat([target.labels for target in targets])
    wrong = labels[(labels < 0) | (labels >= num_classes)].unique().tolist()
    if wrong:
        raise ValueError(
            f"targets: expected class ids in [0, {num_classes - 1}], got {wrong[:8]}. The masks "
            "and the vocabulary do not belong together."
        )
