"""VOC 2012: 20 classes without background, 20 with it (20b), 21, and the 15 seen of 15/5."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stseg.tools.preparation import label_encoders as encoders
from stseg.tools.preparation.image_files import Encoder, recode
from stseg.tools.preparation.tasks import Benchmark, Task, raw_file, raw_files, read_stems

_DOWNLOAD = """\
Official source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/
  http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar
The 12031 augmented label maps are those of SBD, http://home.bharathh.info/pubs/codes/SBD/download.html,
in VOC's encoding:
  https://www.dropbox.com/s/oeu149j8qtbs1x0/SegmentationClassAug.zip
Expected below the root:
  VOCdevkit/VOC2012/JPEGImages/*.jpg
  VOCdevkit/VOC2012/SegmentationClassAug/*.png              palette or grey
  VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt          1449 names
  VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt     10582 names, or train.txt with 1464"""

_FOLDER = "VOCdevkit/VOC2012"
_LISTS = f"{_FOLDER}/ImageSets/Segmentation"
_ALL: dict[str, Encoder] = {
    "annotations_detectron2": encoders.voc_20,
    "annotations_detectron2_bg": encoders.voc_20b,
    "annotations_detectron2_21": encoders.voc_21,
}


def _maps(root: Path, split: str, lists: tuple[str, ...], kinds: dict[str, Encoder]) -> list[Task]:
    """One task per listed image, also where no class is left: the list says what the split is."""
    listed = read_stems(raw_file(root, *(f"{_LISTS}/{name}" for name in lists)))
    raw_files(root, f"{_FOLDER}/SegmentationClassAug")  # says what to fetch if there are none
    return [
        Task(
            root / _FOLDER / "SegmentationClassAug" / f"{stem}.png",
            tuple(f"{_FOLDER}/{folder}/{split}/{stem}.png" for folder in kinds),
            recode,
            tuple(kinds.values()),
        )
        for stem in listed
    ]


_train = partial(_maps, split="train", lists=("trainaug.txt", "train_aug.txt", "train.txt"))

VOC = Benchmark(
    title="PASCAL VOC 2012",
    download=_DOWNLOAD,
    splits={
        "train": partial(_train, kinds=_ALL),
        "val": partial(_maps, split="val", lists=("val.txt",), kinds=_ALL),
        "train_base": partial(_train, kinds={"annotations_detectron2_base": encoders.voc_20_base}),
    },
)
