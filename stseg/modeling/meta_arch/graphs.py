"""A system as two graphs of torch.export: what it sees of a picture, and what it says of words.

Text embeddings are an input, made once by `embed`, so that one file answers any vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.nn import functional as F

from stseg.modeling.meta_arch.base import OpenVocabSegmentor
from stseg.modeling.text import ClassEmbeddings
from stseg.structures import Vocabulary

#: (H, W) of the image that stands for those of any size.
_TRACED = (70, 90)


class _Encode(nn.Module):
    def __init__(self, model: OpenVocabSegmentor, any_size: bool = False) -> None:
        super().__init__()
        self.model = model
        self.working_size = model.image_size_test if any_size else None

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        if self.working_size is not None:  # `encode` would ask whether it has to, once for all
            image = F.interpolate(
                image[None], self.working_size, mode="bilinear", align_corners=False
            )[0]
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


class _NamesOfClasses(ClassEmbeddings):
    """Without the short cut for as many names as classes, which would fix their numbers."""

    def class_scores(self, name_scores: Tensor) -> Tensor:
        index = self.class_index[None, :, None, None].expand_as(name_scores)
        shape = (name_scores.shape[0], self.num_classes, *name_scores.shape[2:])
        least = name_scores.new_full(shape, -torch.inf)
        return least.scatter_reduce(1, index, name_scores, "amax")


class _Answer(nn.Module):
    def __init__(self, model: OpenVocabSegmentor, outputs: int) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(
        self, features: dict[str, Tensor], embeds: Tensor, classes: Tensor, seen: Tensor
    ) -> tuple[Tensor, ...]:
        embeddings = _NamesOfClasses(embeds, classes, seen.shape[0])
        return self.model.logits(features, embeddings, seen)[: self.outputs]


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
    encode, features = _exported_encode(model, size)
    embeds = model.embed(Vocabulary.parse("cat; dog; tree")).embeds
    seen = torch.zeros(len(embeds), dtype=torch.bool, device=model.device)
    count = {0: Dim("classes", min=1)}
    dynamic = (dict.fromkeys(features), count, count)
    logits = export(_Logits(model), (features, embeds, seen), dynamic_shapes=dynamic)
    return encode, logits


@torch.no_grad()
def export_answer_graphs(
    model: OpenVocabSegmentor, size: tuple[int, int] | None, *, outputs: int
) -> tuple[ExportedProgram, ExportedProgram]:
    """`export_graphs` for programs without this package: synonyms are sorted out in the graph.

    Args:
        model: see `export_graphs`.
        size: (H, W) of the images that the first graph takes; None for any, which the graph
            resizes to the model's working size.
        outputs: how many of the tensors of `OpenVocabSegmentor.logits` the answer is.

    Returns:
        image (3, H, W) float32 RGB in [0, 255] -> features by name; and features, embeddings
        (S, P, C) of names, classes (S,) int64 of the names, marks (T,) bool of the classes that had
        labels in training -> the answer, for any S and T from 1.

    Raises:
        ValueError: without a size, if the model has no working size.
    """
    encode, features = _exported_encode(model, size)
    words = model.embed(Vocabulary.parse("cat, kitten; dog; tree, bush"))
    seen = torch.zeros(words.num_classes, dtype=torch.bool, device=model.device)
    names, classes = {0: Dim("names", min=1)}, {0: Dim("classes", min=1)}
    example = (features, words.embeds, words.class_index, seen)
    dynamic = (dict.fromkeys(features), names, names, classes)
    return encode, export(_Answer(model, outputs), example, dynamic_shapes=dynamic)


def _exported_encode(
    model: OpenVocabSegmentor, size: tuple[int, int] | None
) -> tuple[ExportedProgram, dict[str, Tensor]]:
    """The graph, and features to go on with; see `export_answer_graphs`."""
    module = _Encode(model, any_size=size is None)
    if size is None and module.working_size is None:
        raise ValueError(
            f"size: expected (H, W) for {type(model).__name__}, which pads every picture and works "
            "at its size: of graphs for any size the answers were wrong, so that there are none. "
            "Got None. Name the size of the pictures."
        )
    image = torch.zeros(3, *(size or _TRACED), device=model.device)
    dynamic = {"image": {1: Dim.DYNAMIC, 2: Dim.DYNAMIC}} if size is None else None
    return export(module, (image,), dynamic_shapes=dynamic), module(image)
