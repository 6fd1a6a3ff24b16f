"""Semantic structure consistency, SSC (Shan et al., EBSeg, CVPR 2024, section 3.4).

Classes whose names are near each other should look alike, and only those.

Shapes: n matched queries of an image, E channels, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def structure_consistency(
    embeds: Sequence[Tensor], labels: Sequence[Tensor], similarity: Tensor
) -> Tensor:
    """Mean squared difference between what images and what names say of two classes.

    Published code gives 0, without a graph, for a whole batch in which one image has no target.
    Here that image is left out of the mean.

    Args:
        embeds: (n_i, E) of each image's matched queries, with their length: products, not cosines.
        labels: (n_i,) int64 class ids of their pairs.
        similarity: (K, K) cosines of class vectors.

    Returns:
        Scalar float32, mean over the images that have pairs; 0 if none has.
    """
    with torch.autocast(similarity.device.type, enabled=False):
        losses = [
            (x.float() @ x.float().T - similarity.float()[ids][:, ids]).square().mean()
            for x, ids in zip(embeds, labels, strict=True)
            if len(ids)
        ]
        if losses:
            return torch.stack(losses).mean()
        return torch.cat([x.float() for x in embeds]).sum()
