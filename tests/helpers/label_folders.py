"""Folders of predictions, labels and photographs to score."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("wall", "sky", "a|b <x>", "dog", "cat", "bird")
LABELLED = 4  # cat and bird are predicted and never labelled


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def write_folders(root: Path, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """`pred/`, `gt/`, `photos/` and `names.json`; image k has more mistakes than k - 1.

    Returns:
        Arrays "label" and "prediction" of all pixels, label 255 where ignored.
    """
    rng = np.random.default_rng(seed)
    kept = {"label": [], "prediction": []}
    for k in range(count):
        height, width = 20 + k % 3, 30
        label = rng.integers(0, LABELLED, (4, 5)).repeat(6, axis=0).repeat(6, axis=1)
        label = label[:height, :width].astype(np.uint8)
        wrong = rng.random(label.shape) < 0.5 * k / count
        prediction = np.where(wrong, rng.integers(0, len(NAMES), label.shape), label)
        label[0] = 255
        save(root / "gt" / f"{k:03d}.png", label)
        save(root / "pred" / f"{k:03d}.png", prediction.astype(np.uint8))
        save(root / "photos" / f"{k:03d}.jpg", rng.integers(0, 256, (10, 15, 3)).astype(np.uint8))
        kept["label"].append(label.ravel())
        kept["prediction"].append(prediction.ravel())
    (root / "names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    return {key: np.concatenate(parts) for key, parts in kept.items()}
