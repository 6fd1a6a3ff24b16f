"""The most probable classes of every pixel, without the probabilities of all classes at full size.

847 classes on a photo of 3000 x 2000 pixels are 20 GB. Here the scores stay at the size that the
network gives, and blocks of pixels are made of them, see `stseg.modeling.scores.best_classes`.

Shapes: T classes, H x W pixels, k best classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stseg.modeling.scores.best_classes import BestClasses, check_k
from stseg.modeling.scores.sources import Average, Cells, Resized, Window
from stseg.modeling.scores.windows import Tiles, resize, window_starts


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


def top_classes(
    scores: Tensor,
    size: Sequence[int],
    k: int = 1,
    activation: Callable[[Tensor], Tensor] | None = None,
) -> LabelMap:
    """The best classes of `resize(activation(scores), size)`, which is never made.

    Args:
        scores: (T, h, w) of any float type.
        size: (H, W) in pixels.
        k: classes per pixel.
        activation: rising function such as `torch.sigmoid`; None takes the scores as they are.

    Raises:
        ValueError: if k is not in [1, T].
    """
    source = Cells(scores, activation)
    best = BestClasses(Resized(source, (size[0], size[1])), k)
    best.fill(source, (0, size[0]))
    return LabelMap(best.labels, best.confidences)


def top_classes_of_tiles(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    tiles: Tiles,
    working_size: Sequence[int],
    size: Sequence[int],
    k: int = 1,
    activation: Callable[[Tensor], Tensor] | None = None,
) -> LabelMap:
    """The best classes of what `predict_tiles` gives, resized.

    Scores of about one row of windows are held at a time, as the network gives them.

    Args:
        predict: (1, 3, h, w) image of the working size -> (1, T, h', w') scores.
        image: (3, H', W').
        tiles: the windows.
        working_size: (h, w).
        size: (H, W) of the result.
        k: classes per pixel.
        activation: rising function that makes probabilities of scores.

    Raises:
        ValueError: if k is not in [1, T].
    """

    def scores(part: Tensor) -> Cells:
        return Cells(predict(resize(part[None], working_size))[0], activation)

    height, width = image.shape[-2:]
    h, w = min(tiles.size[0], height), min(tiles.size[1], width)
    whole = Resized(scores(image), (height, width)) if tiles.whole_image else None
    tops, lefts = window_starts(height, h, tiles.overlap), window_starts(width, w, tiles.overlap)
    windows: list[Window] = []
    best, done = None, 0
    for top, covered in zip(tops, [*tops[1:], height], strict=True):
        for left in lefts:
            crop = image[:, top : top + h, left : left + w]
            windows.append(Window(top, left, Resized(scores(crop), (h, w))))
        average = Average(windows, whole, (height, width))
        # Pixels above `covered` are in no later window.
        if best is None:
            best = BestClasses(Resized(average, (size[0], size[1])), k)
        end = best.pixels.rows.finished(covered)
        if end > done:
            best.fill(average, (done, end))
            done = end
        if done < size[0]:
            needed = best.pixels.rows.cells((done, size[0]))[0]
            windows = [kept for x in windows if (kept := x.below(needed)) is not None]
    assert best is not None  # there is at least one window
    return LabelMap(best.labels, best.confidences)
