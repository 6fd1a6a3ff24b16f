"""A DETECTRON2_DATASETS root made of the real samples, without copying any."""

import os
from pathlib import Path


def link_real_root(tmp_path: Path, shared: Path) -> Path:
    """Link raw images and prepared label maps of the shared samples into one root.

    Args:
        tmp_path: the root is made below it.
        shared: the shared folder, with data/real and data/prepared.

    Returns:
        The root, to be named by DETECTRON2_DATASETS.
    """
    root = tmp_path / "datasets"
    for tree in ("real", "prepared"):
        source = shared / "data" / tree
        for path in source.rglob("*"):
            target = root / path.relative_to(source)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(path, target)
    return root
