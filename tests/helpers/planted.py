"""Small data sets in the folders of a benchmark, to plant defects in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from stseg.data.datasets import SPECS
from stseg.tools.verification import Report, Settings, demand, verify
from stseg.tools.verification.registered import find_registered

SIZE = (24, 32)


def folders(root: Path, name: str) -> tuple[Path, Path]:
    """Image and label folder of a registered name below a root."""
    spec = next(spec for spec in SPECS if spec.name == name)
    return root / spec.image_dir, root / spec.label_dir


def plant(
    root: Path, name: str, labels: Sequence[np.ndarray], suffix: str = ".png"
) -> tuple[list[Path], list[Path]]:
    """Write grey images and these label maps; return the paths of both."""
    image_dir, label_dir = folders(root, name)
    image_dir.mkdir(parents=True, exist_ok=True)
    label_dir.mkdir(parents=True, exist_ok=True)
    paths: tuple[list[Path], list[Path]] = ([], [])
    for k, label in enumerate(labels):
        image = np.full((*label.shape[:2], 3), 40 + k, dtype=np.uint8)
        for written, path, array in zip(
            paths,
            (image_dir / f"{k:04}.jpg", label_dir / f"{k:04}{suffix}"),
            (image, label),
            strict=True,
        ):
            Image.fromarray(array).save(path)
            written.append(path)
    return paths


def blocks(ids: Sequence[int], dtype: type = np.uint8, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A label map of equally high bands, the first id on top."""
    rows = np.array(ids)[np.arange(size[0]) * len(ids) // size[0]]
    return np.repeat(rows[:, None], size[1], axis=1).astype(dtype)


def check(name: str, **settings) -> Report:
    """Verify a registered data set that was asked for by name."""
    return demand(verify(find_registered(name), Settings(**settings)))


def codes(report: Report) -> list[str]:
    """Of the findings, without notes."""
    return [finding.code for finding in report.findings if not finding.is_note]
