"""Write splits of the small world to a folder, in the layout that its registration reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stseg.data import IGNORED_IN_FILES, SPLITS, UNLABELLED_SPLIT
from stseg.small_world.names import CLASS_NAMES, SEEN_NAMES
from stseg.small_world.other_camera import TARGET_SEEDS, render_target
from stseg.small_world.scenes import SEEDS_PER_SPLIT, SPLIT_SEEDS, Scene, render
from stseg.utils import write_atomically


def train_labels(label_map: np.ndarray) -> np.ndarray:
    """Label map for training: seen classes in the order of ``SEEN_NAMES``, unseen ones ignored.

    Args:
        label_map: (H, W) uint8, index into ``CLASS_NAMES``.

    Returns:
        (H, W) uint8, index into ``SEEN_NAMES`` or 255, so that no unseen mask is ever seen.
    """
    table = np.full(256, IGNORED_IN_FILES, np.uint8)
    for new_id, name in enumerate(SEEN_NAMES):
        table[CLASS_NAMES.index(name)] = new_id
    return table[label_map]


def split_scene(split: str, index: int, seed: int = 0) -> Scene:
    """Scene ``index`` of a split; splits never share a seed.

    Raises:
        ValueError: if the split is unknown or the seed leaves its range.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}.")
    if not 0 <= seed < SEEDS_PER_SPLIT:
        raise ValueError(f"seed: expected 0 to {SEEDS_PER_SPLIT - 1}, got {seed}.")
    if split in TARGET_SEEDS:
        return render_target(TARGET_SEEDS[split] + seed, index)
    return render(SPLIT_SEEDS[split] + seed, index)


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something else than the small world.

    Raises:
        ValueError: names the file or folder that would be written over.
    """
    lists = {"names.json": list(CLASS_NAMES), "names_seen.json": list(SEEN_NAMES)}
    present = [name for name in lists if (out / name).exists()]
    strange = [name for name in present if _content(out / name) != lists[name]]
    if not present:
        strange = [name for name in ("images", "labels") if any((out / name).glob("*/*"))]
    if strange:
        raise ValueError(
            f"--out: expected a new folder, or one of the small world, got {out}, whose "
            f"{strange[0]} is something else. Name another folder."
        )


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def write_split(out: Path, split: str, count: int, seed: int = 0) -> None:
    """Write ``count`` scenes of a split below ``out``.

    Files: images/SPLIT/*.png (RGB), labels/SPLIT/*.png (8 bits), captions_SPLIT.jsonl,
    names.json (all classes) and names_seen.json (the ids of the train labels). Of
    ``UNLABELLED_SPLIT`` only the images: neither labels nor captions. Files of an earlier run with
    the same seed are replaced by equal ones, so a stopped run can be repeated.
    """
    labelled = split != UNLABELLED_SPLIT
    image_dir, label_dir = out / "images" / split, out / "labels" / split
    for folder in (image_dir, label_dir) if labelled else (image_dir,):
        folder.mkdir(parents=True, exist_ok=True)
    captions = []
    for index in range(count):
        scene = split_scene(split, index, seed)
        stem = f"{index:06d}"
        _write_png(image_dir / f"{stem}.png", scene.image[..., ::-1])
        if labelled:
            labels = train_labels(scene.label_map) if split == "train" else scene.label_map
            _write_png(label_dir / f"{stem}.png", labels)
            captions.append(json.dumps({"file": f"{stem}.png", "caption": scene.caption}))
    if labelled:
        write_atomically(out / f"captions_{split}.jsonl", ("\n".join(captions) + "\n").encode())
    write_atomically(out / "names.json", json.dumps(CLASS_NAMES).encode())
    write_atomically(out / "names_seen.json", json.dumps(SEEN_NAMES).encode())


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # imencode, not imwrite: OpenCV cannot open paths with letters outside ASCII on Windows.
    _, data = cv2.imencode(".png", np.ascontiguousarray(pixels))
    path.write_bytes(data.tobytes())
