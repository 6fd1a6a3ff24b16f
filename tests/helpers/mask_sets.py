"""Random sets of masks with their targets, and points at which they are compared."""

import numpy as np
import torch

from stseg.modeling.losses import MaskTargets, SetPrediction, masks_of_labels
from stseg.structures import IGNORE_LABEL


def prediction(batch=2, queries=6, columns=5, requires_grad=False):
    masks = torch.randn(batch, queries, 6, 8, requires_grad=requires_grad)
    logits = torch.randn(batch, queries, columns, requires_grad=requires_grad)
    return SetPrediction(masks, {"loss_ce": logits})


def target(*labels, size=(12, 16)):
    return MaskTargets(torch.rand(len(labels), *size) > 0.5, torch.tensor(labels, dtype=torch.long))


class GridPoints:
    """The same points for all."""

    points = torch.rand(1, 40, 2, generator=torch.Generator().manual_seed(0))

    def uniform(self, mask_logits):
        return self.points

    def uncertain(self, mask_logits):
        return self.points.expand(len(mask_logits), -1, -1)


def labels_with_gaps(*classes, size=(12, 16), seed=0):
    """A label map of some classes in blocks, with blocks that have none."""
    rng = np.random.default_rng(seed)
    blocks = rng.choice([IGNORE_LABEL, *classes], (size[0] // 4, size[1] // 4))
    blocks.flat[: len(classes) + 1] = [IGNORE_LABEL, *classes]
    return torch.from_numpy(np.kron(blocks, np.ones((4, 4), blocks.dtype)))


def masked(labels):
    return masks_of_labels(labels, ignored="masked")


def unlabelled(size=(12, 16)):
    return masked(torch.full(size, IGNORE_LABEL))


def learning(**sizes):
    return prediction(**sizes, requires_grad=True)


def tensors(made):
    """Mask logits and class logits."""
    return made.mask_logits, made.class_logits["loss_ce"]


def gradients(criterion, made, targets, **options):
    """Losses, and their gradients by `tensors`."""
    losses, _ = criterion([made], targets, **options)
    return losses, torch.autograd.grad(sum(losses.values()), tensors(made))
