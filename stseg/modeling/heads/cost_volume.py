"""Cost volume between image cells and class prompts (paper, section 2.2, eq. 5)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def cost_volume(image_feats: Tensor, class_embeds: Tensor) -> Tensor:
    """Cosine similarity of every feature cell with every prompt of every class.

    Args:
        image_feats: (B, C, h, w) dense embedding, not normalised.
        class_embeds: (T, P, C) text embeddings of any length.

    Returns:
        (B, P, T, h, w) in [-1, 1]. CLIP's logit scale plays no part.

    Raises:
        ValueError: if the two widths C differ.
    """
    if image_feats.shape[1] != class_embeds.shape[-1]:
        raise ValueError(
            f"class_embeds: expected width {image_feats.shape[1]}, that of the image embedding, "
            f"got {class_embeds.shape[-1]}. Image and text tower must be of one CLIP model."
        )
    image_feats = F.normalize(image_feats, dim=1)
    class_embeds = F.normalize(class_embeds, dim=-1)
    return torch.einsum("bchw,tpc->bpthw", image_feats, class_embeds)
