"""Cityscapes: the 19 classes of the benchmark, from the fine annotations."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stseg.tools.preparation.image_files import recode
from stseg.tools.preparation.label_encoders import cityscapes_19
from stseg.tools.preparation.tasks import Benchmark, Task, raw_files

_DOWNLOAD = """\
Official source (registration needed): https://www.cityscapes-dataset.com
  leftImg8bit_trainvaltest.zip
  gtFine_trainvaltest.zip
Expected below the root:
  cityscapes/leftImg8bit/{train,val}/CITY/*_leftImg8bit.png      2975 and 500 images
  cityscapes/gtFine/{train,val}/CITY/*_gtFine_labelIds.png"""

_RAW, _IMAGE = "_gtFine_labelIds.png", "_leftImg8bit.png"


def _maps(root: Path, split: str) -> list[Task]:
    tasks = []
    for path in raw_files(root, f"cityscapes/gtFine/{split}", f"*/*{_RAW}"):
        name = path.name.removesuffix(_RAW) + _IMAGE
        output = f"cityscapes/annotations_detectron2/{split}/{path.parent.name}/{name}"
        tasks.append(Task(path, (output,), recode, (cityscapes_19,)))
    return tasks


CITYSCAPES = Benchmark(
    title="Cityscapes",
    download=_DOWNLOAD,
    splits={split: partial(_maps, split=split) for split in ("train", "val")},
)
