"""A folder that looks like CamVid, with a few small pictures or none."""

import json
from pathlib import Path

import numpy as np

from tests.helpers.tiny_data import write_pair

NAMES = ["sky", "building", "pole", "road", "pavement", "tree"]
NAMES += ["sign symbol", "fence", "car", "pedestrian", "bicyclist"]


def write_camvid(root: Path, pictures: int = 0) -> Path:
    """Write the folder and return it; `pictures` are those of each split."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for number in range(pictures):
            image = rng.integers(0, 256, (24, 32, 3), np.uint8)
            write_pair(root, f"{split}/{number}", image[..., 0] % len(NAMES), image)
    (root / "names.json").write_text(json.dumps({"classes": NAMES, "ignore": 255}))
    return root
