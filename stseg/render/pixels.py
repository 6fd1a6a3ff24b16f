"""Arrays of pixels at another size, and as the bytes of a file. NumPy and Pillow only."""

import io
import threading
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, BinaryIO

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


class _PillowLimit:
    """Pillow's limit of 179 megapixels, lifted while files are opened.

    It is a variable of Pillow's, for all threads and whoever else uses Pillow: it comes back when
    the last of us is through.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._before: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                Image.MAX_IMAGE_PIXELS = self._before


_unlimited = _PillowLimit()


def open_any_size(path: str | PathLike[str] | BinaryIO) -> Image.Image:
    """Pillow's `Image.open`, of a path or a file, without its limit on the size."""
    with _unlimited:
        return Image.open(path)
