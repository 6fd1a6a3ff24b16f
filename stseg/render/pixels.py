"""Arrays of pixels at another size, and as the bytes of a file. NumPy and Pillow only."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

_BAND_PIXELS = 1 << 22


def labels_at_size(labels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The nearest label at the centre of every cell of a (H, W) grid over the same picture.

    Args:
        labels: (h, w) of any type.
        size: (H, W) in pixels.

    Returns:
        (H, W), of the same type.
    """
    if labels.shape == tuple(size):
        return labels
    rows, columns = (
        ((np.arange(to) + 0.5) * of / to).astype(np.intp)
        for to, of in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


def bands(shape: Sequence[int]) -> Iterator[slice]:
    """The rows of a (H, W, ...) array, some at a time: what is made of them stays small."""
    step = max(1, _BAND_PIXELS // max(1, shape[1]))
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def image_bytes(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    """The file of an (H, W) or (H, W, 3) array, "PNG" say; `options` are those of Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()
