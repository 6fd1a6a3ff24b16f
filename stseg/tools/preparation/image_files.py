"""Files of the downloads, and the bytes of prepared files: the same input gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stseg.data import read_ids
from stseg.render import image_bytes

Encoder = Callable[[np.ndarray], np.ndarray]


def recode(source: Path, *encoders: Encoder) -> list[bytes]:
    """A raw label map by several rules: one file's bytes per encoder."""
    raw = read_ids(source, "Raw label map")
    return [map_bytes(encode(raw)) for encode in encoders]


def map_bytes(label_map: np.ndarray) -> bytes:
    """PNG of an (H, W) uint8 map, TIFF (deflated, so a tenth of the size) of a uint16 one.

    Raises:
        TypeError: for any other type.
    """
    if label_map.dtype == np.uint8:
        return image_bytes(label_map, "PNG")
    if label_map.dtype == np.uint16:
        return image_bytes(label_map, "TIFF", compression="tiff_adobe_deflate")
    raise TypeError(f"Label map: expected uint8 or uint16, got {label_map.dtype}.")


def jpeg_bytes(image: np.ndarray) -> bytes:
    """JPEG of (H, W) or (H, W, 3) uint8 at Pillow's quality, 75, which is what the peers use."""
    return image_bytes(image, "JPEG")


def read_mat(path: Path, key: str) -> np.ndarray:
    """A matrix of a MATLAB file up to version 7.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read or does not hold an (H, W) matrix `key`.
    """
    # Here, so that the other benchmarks do without SciPy's second of import.
    import scipy.io

    try:
        value = scipy.io.loadmat(path, variable_names=[key]).get(key)
    except FileNotFoundError:
        raise FileNotFoundError("expected a file, got none. Unpack the download anew.") from None
    except (ValueError, TypeError, NotImplementedError, OSError, EOFError) as error:
        raise ValueError(f"expected a MATLAB file, got {error}. Unpack it anew.") from error
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind not in "iuf":
        raise ValueError(f"expected a matrix {key!r}, got none. Take the trainval/*.mat files.")
    return value.astype(np.int64)


def paint(height: int, width: int, annotations: Sequence[tuple[int, Any]]) -> np.ndarray:
    """Ids from run-length masks of COCO; later ones lie on earlier ones.

    Args:
        height: of the image.
        width: of the image.
        annotations: pairs of an id and a mask, {"size": [H, W], "counts": text or list}.

    Returns:
        (H, W) int64, 0 where no mask is.

    Raises:
        ValueError: if a mask is of another size, or is none.
    """
    ids = np.zeros((height, width), np.int64)
    for number, runs in annotations:
        mask = _decoded(runs)
        if mask.shape != ids.shape:
            raise ValueError(
                f"expected masks of the image's size {ids.shape}, got {mask.shape}. Take the "
                "annotation file that belongs to these images."
            )
        ids[mask.astype(bool)] = number
    return ids


def _decoded(runs: Any) -> np.ndarray:
    from pycocotools import mask as coco_mask

    try:
        if isinstance(runs["counts"], list):
            runs = coco_mask.frPyObjects(runs, *runs["size"])
        return coco_mask.decode(runs)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"expected a mask as COCO's run lengths (size, counts), got {error!r}. Take the "
            "annotation file anew."
        ) from error
