"""The class without words, learnt as a vector beside those of the names.

Shapes: S names, C channels of the embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.text.class_embeddings import ClassEmbeddings


class ClassifierWithRest(nn.Module):
    """Class vectors of names, and one that is learnt for what no name covers.

    EBSeg's background (CVPR 2024), as MaskFormer's "no object". It is not a class of the
    vocabulary: whether `Vocabulary.rest` is answered by it is for the system to say.
    """

    def __init__(self, dim: int):
        """Draw the vector.

        Args:
            dim: C.
        """
        super().__init__()
        self.rest = nn.Parameter(torch.randn(1, dim) * dim**-0.5)

    def forward(self, embeddings: ClassEmbeddings) -> Tensor:
        """Unit vectors to compare unit embeddings with.

        Args:
            embeddings: (S, P, C) of the text encoder.

        Returns:
            (S + 1, C), the mean over the templates of each name, the learnt vector last.
        """
        names = embeddings.mean_over_templates()
        return torch.cat([names, F.normalize(self.rest, dim=-1).to(names.dtype)])
