"""The most probable classes of every pixel, without the probabilities of all classes at full size.

847 classes on a photo of 3000 x 2000 pixels are 20 GB. Here the scores stay at the size that the
network gives, and blocks of pixels are made of them, see `stseg.modeling.scores.best_classes`.

Shapes: T classes, H x W pixels, k best classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stseg.modeling.scores.best_classes import check_k, read_best
from stseg.modeling.scores.sources import Source, calibrated

_ROWS = 512


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The k best classes of every pixel, the best first.

    Attributes:
        top_labels: (k, H, W) int32 class ids.
        top_confidences: (k, H, W) float32 probabilities.
    """

    top_labels: Tensor
    top_confidences: Tensor

    @classmethod
    def of(cls, probs: Tensor, k: int = 1) -> "LabelMap":
        """Read off probabilities (T, H, W)."""
        check_k(k, len(probs))
        if k == 1:
            confidences, labels = (x[None] for x in probs.float().max(dim=0))
        else:
            confidences, labels = probs.float().topk(k, dim=0)
        return cls(labels.to(torch.int32), confidences)

    @classmethod
    def read(cls, source: Source, k: int = 1) -> "LabelMap":
        """Read off a source, which never has all classes at full size; see `read_best`."""
        return cls(*read_best(source, k))

    def at_temperature(self, temperature: float) -> "LabelMap":
        """The same classes, as sure of them as `calibrated` says."""
        if temperature == 1:
            return self
        confidences = torch.empty_like(self.top_confidences)
        for rows in range(0, self.labels.shape[0], _ROWS):  # few copies of a large map at once
            part = self.top_confidences[:, rows : rows + _ROWS]
            best = part[0].clamp(min=1e-6)
            confidences[:, rows : rows + _ROWS] = part * (calibrated(best, temperature) / best)
        return LabelMap(self.top_labels, confidences)

    @property
    def labels(self) -> Tensor:
        """(H, W) int32, the most probable class."""
        return self.top_labels[0]

    @property
    def confidence(self) -> Tensor:
        """(H, W) float32, its probability."""
        return self.top_confidences[0]


def label_maps(model: nn.Module, inputs: Sequence[dict[str, Any]], k: int = 1) -> list[LabelMap]:
    """Label maps of a batch, streamed where the model can.

    Args:
        model: any model with Detectron2's semantic segmentation output, in evaluation mode.
        inputs: as the model takes them.
        k: classes per pixel.
    """
    if hasattr(model, "label_maps"):
        return model.label_maps(inputs, k)
    return [LabelMap.of(output["sem_seg"], k) for output in model(inputs)]


class LabelMapModel(nn.Module):
    """A model's label maps in the place of its probabilities, for evaluators that take them.

    Outputs are dicts with "label_map" (H, W) int32 and "confidence" (H, W) float32.
    """

    def __init__(self, model: nn.Module) -> None:
        """Wrap the bare model, in the mode that it is in."""
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, inputs: Sequence[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Segment a batch."""
        found = label_maps(self.model, inputs)
        return [{"label_map": x.labels, "confidence": x.confidence} for x in found]
