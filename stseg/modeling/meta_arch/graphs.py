"""A system as two graphs of torch.export: what it sees of a picture, and what it says of words.

Text embeddings are an input, made once by `embed`, so that one file answers any vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from stseg.modeling.meta_arch.base import OpenVocabSegmentor
from stseg.modeling.text import ClassEmbeddings
from stseg.structures import Vocabulary


class _Encode(nn.Module):
    def __init__(self, model: OpenVocabSegmentor) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return dict(self.model.encode([image]).tensors)


class _Logits(nn.Module):
    def __init__(self, model: OpenVocabSegmentor) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, features: dict[str, Tensor], embeds: Tensor, seen: Tensor
    ) -> tuple[Tensor, ...]:
        rows = torch.arange(embeds.shape[0], device=embeds.device)
        return self.model.logits(features, ClassEmbeddings(embeds, rows, embeds.shape[0]), seen)


@torch.no_grad()
def export_graphs(
    model: OpenVocabSegmentor, size: tuple[int, int]
) -> tuple[ExportedProgram, ExportedProgram]:
    """Export a model in evaluation mode; `torch.export.save` writes what it returns.

    Args:
        model: with its weights, on the device that the graphs shall run on.
        size: (H, W) of the images that the first graph takes.

    Returns:
        image (3, H, W) float32 RGB in [0, 255] -> features by name; and features, embeddings
        (T, P, C), marks (T,) bool of the classes that had labels in training -> what
        `OpenVocabSegmentor.logits` gives, for any T from 1. Several names of a class are rows of
        their own, of whose scores `ClassEmbeddings.class_scores` takes the best.
    """
    image = torch.zeros(3, *size, device=model.device)
    encode = export(_Encode(model), (image,))
    features = _Encode(model)(image)
    embeds = model.embed(Vocabulary.parse("cat; dog; tree")).embeds
    seen = torch.zeros(len(embeds), dtype=torch.bool, device=model.device)
    count = {0: Dim("classes", min=1)}
    dynamic = (dict.fromkeys(features), count, count)
    logits = export(_Logits(model), (features, embeds, seen), dynamic_shapes=dynamic)
    return encode, logits
