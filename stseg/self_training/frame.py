"""How an image lies in SAM's square input, and the way there and back.

Three frames: the image (H x W pixels), SAM's input (S x S pixels) and SAM's mask frame (low x low
cells, 256 for S = 1024). Coordinates follow `segment_anything.SamPredictor`: they
are scaled without a shift, and the prompt encoder adds its half pixel itself.

SAM's mask frame has four cells per cell of the embedding: 4 pixels each with the usual patches of
16 pixels, fewer where a SAM has smaller patches.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor
from torch.nn import functional as F

#: SAM pixels per cell of the mask frame of every official SAM.
MASK_STRIDE = 4


@dataclass(frozen=True)
class Frame:
    """Place of one image in SAM's input; make it with `stretched` or `padded`.

    Attributes:
        height: H, pixels of the image.
        width: W, pixels of the image.
        size: S, side of SAM's input in pixels, a multiple of `mask_stride`.
        scaled_height: rows of the input that show the image; the rest is padding.
        scaled_width: columns of the input that show the image; the rest is padding.
        mask_stride: pixels of the input per cell of the mask frame, a quarter of SAM's patches.
    """

    height: int
    width: int
    size: int
    scaled_height: int
    scaled_width: int
    mask_stride: int = MASK_STRIDE

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise ValueError(
                f"Frame: expected an image of at least 1 x 1 pixels, "
                f"got {self.height} x {self.width}."
            )
        if self.size < self.mask_stride or self.size % self.mask_stride:
            raise ValueError(
                f"Frame size: expected a positive multiple of {self.mask_stride} pixels, "
                f"got {self.size}. Use MODEL.SAM.INPUT_SIZE."
            )

    @classmethod
    def stretched(
        cls, height: int, width: int, size: int, mask_stride: int = MASK_STRIDE
    ) -> "Frame":
        """The whole image resized to the square, aspect not kept, as `SAMImageEncoder` does."""
        return cls(height, width, size, size, size, mask_stride)

    @classmethod
    def padded(cls, height: int, width: int, size: int, mask_stride: int = MASK_STRIDE) -> "Frame":
        """Long side resized to the square's, rest padded right and below, as SAM was trained."""
        scale = size / max(height, width, 1)
        # A very long image may leave less than half a pixel of its short side.
        rows, columns = (max(1, int(side * scale + 0.5)) for side in (height, width))
        return cls(height, width, size, rows, columns, mask_stride)

    @property
    def low(self) -> int:
        """Side of SAM's mask frame in cells."""
        return self.size // self.mask_stride

    @property
    def scale(self) -> tuple[float, float]:
        """SAM pixels per image pixel along x and y."""
        return self.scaled_width / self.width, self.scaled_height / self.height

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Points (..., 2), x before y, from image pixels to SAM pixels; float32."""
        return (np.asarray(xy, np.float64) * self.scale).astype(np.float32)

    def boxes(self, xyxy: np.ndarray) -> np.ndarray:
        """Boxes (..., 4), two corners, from image pixels to SAM pixels; float32."""
        corners = np.asarray(xyxy, np.float64)
        return self.points(corners.reshape(*corners.shape[:-1], 2, 2)).reshape(corners.shape)

    def mask_prompt(self, values: np.ndarray, outside: float = 0.0) -> np.ndarray:
        """Average a map of the image over the cells of SAM's mask frame.

        Args:
            values: (H, W) bool or float: a mask, a soft mask in [0, 1] or logits.
            outside: value of the padding.

        Returns:
            (low, low) float32.

        Raises:
            ValueError: if the map has another size than the image.
        """
        if values.shape != (self.height, self.width):
            raise ValueError(
                f"Mask prompt: expected a map of the image's {self.height} x {self.width} pixels, "
                f"got {values.shape}."
            )
        shrinks = self.scaled_height <= self.height and self.scaled_width <= self.width
        scaled = cv2.resize(
            np.asarray(values, np.float32),
            (self.scaled_width, self.scaled_height),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        square = np.full((self.size, self.size), outside, np.float32)
        square[: self.scaled_height, : self.scaled_width] = scaled
        return cv2.resize(square, (self.low, self.low), interpolation=cv2.INTER_AREA)

    def to_image(self, logits: Tensor) -> Tensor:
        """Bring maps of SAM's mask frame to the image, as SAM's own postprocessing does.

        Args:
            logits: (N, low, low) float.

        Returns:
            (N, H, W) float.

        Raises:
            ValueError: if the maps are not low x low.
        """
        if logits.shape[1:] != (self.low, self.low):
            raise ValueError(
                f"SAM masks: expected {self.low} x {self.low} cells for an input of {self.size} "
                f"pixels, got {tuple(logits.shape[1:])}."
            )
        square = F.interpolate(
            logits[:, None], (self.size, self.size), mode="bilinear", align_corners=False
        )
        cut = square[..., : self.scaled_height, : self.scaled_width]
        if cut.shape[-2:] != (self.height, self.width):
            cut = F.interpolate(
                cut, (self.height, self.width), mode="bilinear", align_corners=False
            )
        return cut[:, 0]
