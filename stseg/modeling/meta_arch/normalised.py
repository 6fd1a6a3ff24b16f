"""Pictures as frozen encoders with statistics of their own take them (EBSeg, CVPR 2024).

The padding is zero after normalising, the mean pixel, and not cut off later: encoders see it.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from stseg.modeling.scores import pad_to_batch


def normalised_batch(
    images: Sequence[Tensor], mean: Tensor, std: Tensor, multiple: int = 32
) -> Tensor:
    """Normalise and pad at the right and the bottom.

    Args:
        images: (3, H_i, W_i) float RGB in [0, 255] each.
        mean: (3, 1, 1), of the encoder.
        std: likewise.
        multiple: that the sides of the batch are to be of, pixels.

    Returns:
        (B, 3, H, W), the largest sides of the batch or the next multiples.
    """
    return pad_to_batch([(image - mean) / std for image in images], 0.0, multiple)


def rescaled(images: Tensor, factor: float) -> Tensor:
    """Resize by a factor, bilinear without antialiasing.

    A side becomes floor(side * factor), but pixels are read at distances of 1 / factor: the factor
    counts, not the ratio of the sides.

    Args:
        images: (B, C, H, W).
        factor: above 0 (EBSeg's CLIP: 0.5 for ViT-B, 0.7 for ViT-L).
    """
    return F.interpolate(images, scale_factor=factor, mode="bilinear", align_corners=False)
