"""CLIP's own answer beside the decoder's, for classes that training had no masks of.

The geometric ensemble of FC-CLIP (Yu et al., NeurIPS 2023), per pixel in place of per mask: a
decoder forgets what it has not seen, CLIP does not. Evaluation only.

Shapes: B images, T classes, h x w cells of CLIP, H x W cells of the decoder.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

#: Greatest logarithm of a probability that a logit can be told of in float32.
_MOST = -1e-7


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
        mixed = _log_odds(self.mean(F.logsigmoid(logits), similar, seen))
        return torch.where(self._weight(logits, seen) > 0, mixed, logits)

    def mean(self, log_probs: Tensor, similar: Tensor, seen: Tensor | None) -> Tensor:
        """The same for logarithms of the decoder's probabilities, and as such.

        Args:
            log_probs: (B, T, H, W) float32, at most 0.
            similar: as above.
            seen: as above.
        """
        weight = self._weight(log_probs, seen)
        clip = F.interpolate(
            similar.float().log_softmax(1),
            log_probs.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        return (1 - weight) * log_probs + weight * clip

    def _weight(self, like: Tensor, seen: Tensor | None) -> Tensor:
        """(T, 1, 1) of CLIP's."""
        weight = like.new_full((like.shape[1],), self.beta)
        if seen is not None:
            weight = torch.where(seen.to(like.device), self.alpha, weight)
        return weight[:, None, None]


def _log_odds(log_probs: Tensor) -> Tensor:
    """Logits whose sigmoid is a probability, of its logarithm; -inf stays, 0 becomes about 16."""
    log_probs = log_probs.clamp(max=_MOST)
    return log_probs - torch.log(-torch.expm1(log_probs))
