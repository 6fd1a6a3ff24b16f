"""Small folder data sets written by the tests themselves."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["sky", "road", "tree", "car"]


def write_pair(root: Path, stem: str, label: np.ndarray, image: np.ndarray | None = None) -> None:
    """Write images/<stem>.png and labels/<stem>.png; the image shows the label by default."""
    if image is None:
        image = np.repeat(label.astype(np.uint8)[..., None], 3, axis=2)
    for folder, array in (("images", image), ("labels", label)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(root / folder / f"{stem}.png")


def write_folder(root: Path, count: int = 6, size: tuple[int, int] = (40, 56)) -> list[str]:
    """Write `count` pairs and names.json; return a DATASETS.FOLDERS entry without the name."""
    rng = np.random.default_rng(0)
    for i in range(count):
        blocks = rng.integers(0, len(NAMES), (size[0] // 8, size[1] // 8))
        label = np.kron(blocks, np.ones((8, 8))).astype(np.uint8)
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        write_pair(root, f"scene{i}", label, image)
    names = root / "names.json"
    names.write_text(json.dumps({"name": "tiny", "classes": NAMES, "ignore": 255}))
    return [str(root / "images"), str(root / "labels"), str(names)]
