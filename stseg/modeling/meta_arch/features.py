"""What a system's encoders say of images, before any word is asked."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from stseg.modeling.scores import Box


@dataclass(frozen=True)
class Features:
    """Of a batch, as a system's `encode` gives them to its `logits`, `score` and `losses`.

    Attributes:
        tensors: by name, each with the batch first. "sam" is only ever what stock SAM's neck gives
            of the whole picture, squashed or padded as SAM's encoder was told.
        sizes: (H, W) of each image as it was given.
    """

    tensors: Mapping[str, Tensor]
    sizes: tuple[tuple[int, int], ...]

    @property
    def num_bytes(self) -> int:
        """Memory of the tensors."""
        return sum(x.numel() * x.element_size() for x in self.tensors.values())


class EncodedImage:
    """One image whose features are computed when they are needed, and kept for other words."""

    def __init__(
        self, image: Tensor, encode: Callable[[Sequence[Tensor]], Features], kept_bytes: int
    ) -> None:
        """Compute nothing yet.

        Args:
            image: (3, H, W) float RGB in [0, 255], on the model's device.
            encode: of the model.
            kept_bytes: limit of the features that are kept; beyond it windows are encoded anew.
        """
        self.image = image
        self._encode, self._room = encode, kept_bytes
        self._kept: OrderedDict[Box | None, Features] = OrderedDict()

    def features(self, box: Box | None = None, canvas: Tensor | None = None) -> Features:
        """Of the whole image, or of a window.

        Args:
            box: the window; None for the whole image.
            canvas: (3, H, W) that the window is cut from; None for the image.
        """
        if box in self._kept:
            return self._kept[box]
        part = self.image
        if box is not None:
            top, left, height, width = box
            source = self.image if canvas is None else canvas
            part = source[:, top : top + height, left : left + width]
        features = self._encode([part])
        if features.num_bytes <= self._room:
            self._kept[box] = features
            self._room -= features.num_bytes
        return features
