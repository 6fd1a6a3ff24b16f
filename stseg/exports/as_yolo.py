"""YOLO: a text file of polygons per image, read as ultralytics reads segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import yaml

from stseg.exports.labelled import MADE_BY, Labelled, is_ours, masks, stem_of, write_new
from stseg.exports.outlines import solid_outlines
from stseg.utils import check_output, write_atomically


def write_yolo(names: Sequence[str], results: Iterable[Labelled], folder: Path) -> list[Path]:
    """Write `data.yaml` and `labels/<stem>.txt`; the images belong into `images` beside.

    A line is a part of a region without holes: its class id and the centres of its outline's pixels
    as shares of width and height. A region with holes is cut through them.
    """
    table, labels = folder / "data.yaml", folder / "labels"
    was_ours = is_ours(table)
    content = {"train": "images", "val": "images", "names": dict(enumerate(names))}
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    write_new(table, f"# {MADE_BY}\n{text}".encode())
    labels.mkdir(exist_ok=True)
    files = [table]
    for result in results:
        path = labels / f"{stem_of(result)}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        check_output(path, "Export", is_ours=lambda _: was_ours)
        write_atomically(path, "".join(_lines(result)).encode("ascii"))
        files.append(path)
    return files


def _lines(result: Labelled) -> Iterable[str]:
    size = np.array(result.label_map.shape[::-1])
    for class_id, mask in masks(result.label_map):
        for outline in solid_outlines(mask):
            shares = (outline + 0.5) / size
            yield f"{class_id} {' '.join(f'{share:.6f}' for share in shares.ravel())}\n"
