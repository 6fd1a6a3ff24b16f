"""COCO-Stuff 164k: 171 classes, and the 156 seen ones of the zero-shot split."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stseg.tools.preparation import label_encoders as encoders
from stseg.tools.preparation.image_files import Encoder, recode
from stseg.tools.preparation.tasks import Benchmark, Task, raw_files

_DOWNLOAD = """\
Official sources: https://cocodataset.org and https://github.com/nightrome/cocostuff
  http://images.cocodataset.org/zips/train2017.zip
  http://images.cocodataset.org/zips/val2017.zip
  http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip
Expected below the root:
  coco-stuff/images/{train2017,val2017}/*.jpg         118287 and 5000 images
  coco-stuff/annotations/{train2017,val2017}/*.png    the stuffthingmaps of the same names"""


def _maps(root: Path, split: str, folder: str, encoder: Encoder) -> list[Task]:
    return [
        Task(path, (f"coco-stuff/{folder}/{split}/{path.name}",), recode, (encoder,))
        for path in raw_files(root, f"coco-stuff/annotations/{split}")
    ]


_whole = partial(_maps, folder="annotations_detectron2", encoder=encoders.coco_stuff)
_base = partial(_maps, folder="annotations_detectron2_base", encoder=encoders.coco_stuff_base)

COCO_STUFF = Benchmark(
    title="COCO-Stuff 164k",
    download=_DOWNLOAD,
    splits={
        "train2017": partial(_whole, split="train2017"),
        "val2017": partial(_whole, split="val2017"),
        "train2017_base": partial(_base, split="train2017"),
    },
)
