"""CLIP's own answer beside the decoder's, for classes that training had no masks of.

The geometric ensemble of FC-CLIP (Yu et al., NeurIPS 2023), per pixel in place of per mask: a
decoder forgets what it has not seen, CLIP does not. Evaluation only.

Shapes: B images, T classes, h x w cells of CLIP, H x W cells of the decoder.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.modeling.heads.odds import log_odds


@dataclass(frozen=True)
class GeometricEnsemble:
    """Weighted geometric mean of two probabilities; the weight depends on the class.

    Attributes:
        alpha: weight of CLIP's for a class that had labels in training, in [0, 1).
        beta: the same for any other class. What is left to 1 is the decoder's.
    """

    alpha: float
    beta: float

    def __call__(self, logits: Tensor, similar: Tensor, seen: Tensor | None) -> Tensor:
        """Mix two answers; a weight of 0 leaves the decoder's as it is.

        Args:
            logits: (B, T, H, W) of the decoder, whose sigmoid is a class's probability.
            similar: (B, T, h, w) logits of CLIP, whose softmax over the classes is; its logarithm
                is resized to the decoder's cells (bilinear).
            seen: (T,) bool; None takes all for unseen.

        Returns:
            (B, T, H, W) float32 logits of the mean.
        """
        logits = logits.float()
        weight = logits.new_full((logits.shape[1],), self.beta)
        if seen is not None:
            weight = torch.where(seen.to(logits.device), self.alpha, weight)
        weight = weight[:, None, None]
        clip = F.interpolate(
            similar.float().log_softmax(1), logits.shape[-2:], mode="bilinear", align_corners=False
        )
        mixed = log_odds((1 - weight) * F.logsigmoid(logits) + weight * clip)
        return torch.where(weight > 0, mixed, logits)
