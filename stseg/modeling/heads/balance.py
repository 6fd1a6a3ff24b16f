"""AdaB, the balance of three opinions on a region (Shan et al., EBSeg, CVPR 2024, section 3.3).

The decoder's own is best on classes seen in training, CLIP's on all others. Evaluation only.

Shapes: B images, Q queries, K classes, C channels of class vectors, h x w cells of CLIP.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.modeling.layers import pool_in_masks

#: Added to published products and sums of probabilities before the logarithm.
_FLOOR = 1e-8


@dataclass(frozen=True)
class EmbeddingBalance:
    """Weighted geometric mean of three distributions over classes; weights depend on the class.

    Attributes:
        alpha: weight of the frozen embedding for a seen class.
        beta: the same for an unseen one.
        gamma: weight of the masked embedding. What is left to 1 is the decoder's.
    """

    alpha: float
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        """Refuse weights that leave the decoder less than nothing."""
        for name in ("alpha", "beta"):
            weight = getattr(self, name)
            if min(weight, self.gamma) < 0 or weight + self.gamma > 1 + 1e-9:
                raise ValueError(
                    f"{name}, gamma: expected numbers of at least 0 and at most 1 together, got "
                    f"{weight} and {self.gamma}."
                )

    def exponents(self, seen: Tensor) -> Tensor:
        """Weights of decoder, frozen and masked: (3, K) of marks (K,), 1 together."""
        rows = [
            # Rounding must not make a weight of what should be 0.
            [max(round(1 - w - self.gamma, 12), 0.0), w, self.gamma]
            for w in (self.beta, self.alpha)
        ]
        return torch.tensor(rows, device=seen.device)[seen.long()].T

    def __call__(self, decoder: Tensor, frozen: Tensor, masked: Tensor, seen: Tensor) -> Tensor:
        """Combine, in logarithms: a weight of 0 leaves an opinion out altogether.

        Args:
            decoder: (B, Q, K + 1) logits, the last for no object.
            frozen: (B, Q, K) logits of the map of frozen CLIP, see `frozen_embeddings`.
            masked: (B, Q, K) logits of CLIP with attention to each query's mask.
            seen: (K,) bool, whether training had the class.

        Returns:
            (B, Q, K + 1) float32 logarithm of a distribution up to rounding and the floor of 1e-8;
            no object, of which the decoder decides alone, is last.
        """
        decoder, floor = decoder.float(), decoder.new_tensor(_FLOOR, dtype=torch.float32).log()
        opinions = (decoder[..., :-1], frozen.float(), masked.float())
        mixed = sum(
            weight * opinion.log_softmax(-1)
            for weight, opinion in zip(self.exponents(seen), opinions, strict=True)
        )
        mixed = torch.logaddexp(mixed, floor).log_softmax(-1)
        everything = decoder.logsumexp(-1, keepdim=True)
        some_object = decoder[..., :-1].logsumexp(-1, keepdim=True) - everything
        no_object = decoder[..., -1:] - everything
        return torch.logaddexp(torch.cat([mixed + some_object, no_object], dim=-1), floor)


def frozen_embeddings(dense: Tensor, mask_logits: Tensor) -> Tensor:
    """Mean of CLIP's dense map in each mask, at the map's size.

    Args:
        dense: (B, C, h, w), unit length along C.
        mask_logits: (B, Q, H, W), resized (bilinear); a cell is inside above 0.

    Returns:
        (B, Q, C), as short as the cells are unlike; zeros for a mask without a cell, which thus has
        no opinion.
    """
    logits = F.interpolate(mask_logits, dense.shape[-2:], mode="bilinear", align_corners=False)
    return pool_in_masks(dense, logits > 0)
