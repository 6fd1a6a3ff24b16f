"""Confidences as grey PNG, as `stseg predict --save confidence` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from stseg.evaluation.label_images import CONFIDENCE_ENDING, LabelPair
from stseg.utils import some_of, spelling_on_disk


def pair_confidences(pairs: Sequence[LabelPair], folder: str | PathLike[str]) -> list[LabelPair]:
    """Find the confidences of every pair.

    Args:
        pairs: of label maps.
        folder: holds `<name>_confidence.png` or `<name>.png` for each; it may be that of the
            predictions, of which the first form is taken.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if a pair has none, or its own label map in this place.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"--confidence: expected a folder, got {str(folder)!r}.")
    found = [replace(pair, confidence=_file_of(pair, root)) for pair in pairs]
    missing = [pair.name for pair in found if pair.confidence is None]
    if missing:
        raise ValueError(
            f"--confidence: expected <name>{CONFIDENCE_ENDING}.png or <name>.png in {root} for "
            f"every label map, got none for {some_of(missing)} ({len(missing)} of {len(found)}). "
            "Write them with `stseg predict --save labels,confidence`."
        )
    return found


def _file_of(pair: LabelPair, root: Path) -> Path | None:
    for ending in (CONFIDENCE_ENDING, ""):
        path = spelling_on_disk(root / f"{pair.name}{ending}.png")
        if path is not None and not any(path.samefile(p) for p in (pair.prediction, pair.label)):
            return path
    return None


def read_confidence(path: Path, size: tuple[int, ...]) -> np.ndarray:
    """(H, W) float64 in [0, 1] of a grey PNG of 8 or 16 bits.

    Args:
        path: of the file.
        size: (H, W) of the label map.

    Raises:
        OSError: if it cannot be decoded.
        ValueError: if it is another kind of picture, or of another size.
    """
    try:
        with Image.open(path) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except UnidentifiedImageError as error:
        raise ValueError(f"Confidences {path}: expected a PNG, got another file.") from error
    if mode not in ("L", "I", "I;16", "I;16B"):
        raise ValueError(
            f"Confidences {path}: expected grey of 8 or 16 bits, got a picture of mode {mode}."
        )
    if values.shape != size:
        raise ValueError(
            f"Confidences {path}: expected the size of the label map, {size[1]} x {size[0]}, got "
            f"{values.shape[1]} x {values.shape[0]} (width x height)."
        )
    return values / (255 if mode == "L" else 65535)
