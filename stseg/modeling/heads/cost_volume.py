"""Cost volume between image cells and class prompts (paper, section 2.2, eq. 5)."""

import torch
from torch import Tensor, nn
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
    return CostVolume(image_feats, class_embeds).whole()


class CostVolume:
    """The cost volume as its two factors: what is needed of it is computed when it is needed.

    For a thousand classes the whole of it takes hundreds of megabytes.
    """

    def __init__(self, image_feats: Tensor, class_embeds: Tensor):
        """Keep the factors; see `cost_volume`."""
        if image_feats.shape[1] != class_embeds.shape[-1]:
            raise ValueError(
                f"class_embeds: expected width {image_feats.shape[1]}, that of the image "
                f"embedding, got {class_embeds.shape[-1]}. Image and text tower must be of one "
                "CLIP model."
            )
        self.image_feats = F.normalize(image_feats, dim=1)
        self.class_embeds = class_embeds
        batch, _, height, width = image_feats.shape
        self.shape = (batch, class_embeds.shape[1], class_embeds.shape[0], height, width)
        self.device = image_feats.device

    def whole(self) -> Tensor:
        """All of it, (B, P, T, h, w)."""
        class_embeds = F.normalize(self.class_embeds, dim=-1)
        return torch.einsum("bchw,tpc->bpthw", self.image_feats, class_embeds)

    def mean(self) -> Tensor:
        """Its mean over the prompts, (B, T, h, w), without the whole of it."""
        means = F.normalize(self.class_embeds, dim=-1).mean(1)
        return torch.einsum("bchw,tc->bthw", self.image_feats, means)

    def of_classes(self, image: int, classes: Tensor) -> Tensor:
        """Some classes of one image.

        Args:
            image: index in the batch.
            classes: (n,) int64 indices.

        Returns:
            (n, P, h, w), channels last.
        """
        class_embeds = self.class_embeds.index_select(0, classes).flatten(0, 1)
        norms = torch.linalg.vector_norm(class_embeds, dim=-1, keepdim=True).clamp_(min=1e-12)
        scores = class_embeds @ self.image_feats[image].flatten(1)
        scores = (scores / norms).reshape(len(classes), -1, *self.shape[-2:])
        return scores.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def embed(conv: nn.Conv2d, scores: Tensor, classes: Tensor) -> Tensor:
        """What the decoder's first convolution makes of some classes.

        Args:
            conv: P channels to O, stride 1.
            scores: (n, P, h, w) of `of_classes`.
            classes: (n,) whose they are.

        Returns:
            (n, O, h, w).
        """
        del classes  # it treats all alike
        # The layout in which libraries are fastest at so wide a kernel.
        return conv(scores.contiguous())

    @staticmethod
    def double(up: nn.ConvTranspose2d, scores: Tensor, classes: Tensor) -> Tensor:
        """What a transposed convolution makes of some classes.

        Args:
            up: P channels to G, kernel 2x2 and stride 2.
            scores: (n, P, h, w) of `of_classes`.
            classes: (n,) whose they are.

        Returns:
            (n, G, 2h, 2w).
        """
        del classes
        return up(scores)
