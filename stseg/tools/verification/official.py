"""How many images each benchmark split has according to those who made it."""

from __future__ import annotations

from dataclasses import dataclass

from stseg.tools.verification.finding import Finding

_COCO = "COCO-Stuff (Caesar et al. 2018), github.com/nightrome/cocostuff"
_ADE = "Scene parsing benchmark (Zhou et al. 2017), github.com/CSAILVision/sceneparsing"
_ADE_FULL = "ADE20K 2021_17_01, groups.csail.mit.edu/vision/datasets/ADE20K"
_CONTEXT = "PASCAL-Context (Mottaghi et al. 2014), cs.stanford.edu/~roozbeh/pascal-context"
_VOC = "VOC 2012, host.robots.ox.ac.uk/pascal/VOC/voc2012; 10582 with SBD (Hariharan et al. 2011)"
_CITYSCAPES = "Cityscapes (Cordts et al. 2016), cityscapes-dataset.com"


@dataclass(frozen=True)
class Official:
    """What the makers of a split say.

    Attributes:
        images: numbers that are right; several where there are editions.
        source: of the number.
        absent: classes that no image of the whole split has; None where nobody says.
    """

    images: tuple[int, ...]
    source: str
    absent: int | None = 0


#: By registered name.
OFFICIAL = {
    "coco_2017_train_stuff_all_sem_seg": Official((118287,), _COCO),
    "coco_2017_train_stuff_base_sem_seg": Official((118287,), _COCO, absent=15),
    "coco_2017_test_stuff_all_sem_seg": Official((5000,), _COCO),
    "ade20k_150_train_sem_seg": Official((20210,), _ADE),
    "ade20k_150_train_images": Official((20210,), _ADE),
    "ade20k_150_test_sem_seg": Official((2000,), _ADE),
    "ade20k_full_train_sem_seg": Official((25574,), _ADE_FULL, absent=None),
    "ade20k_full_train_base_sem_seg": Official((25574,), _ADE_FULL, absent=None),
    "ade20k_full_train_images": Official((25574,), _ADE_FULL),
    "ade20k_full_sem_seg_freq_val_all": Official((2000,), _ADE_FULL, absent=None),
    "context_59_train_sem_seg": Official((4998,), _CONTEXT),
    "context_59_train_base_sem_seg": Official((4998,), _CONTEXT, absent=10),
    "context_59_train_images": Official((4998,), _CONTEXT),
    "context_59_test_sem_seg": Official((5105,), _CONTEXT),
    "context_59_ovseg_test_sem_seg": Official((5105,), _CONTEXT),
    "context_459_train_sem_seg": Official((4998,), _CONTEXT, absent=None),
    "context_459_train_images": Official((4998,), _CONTEXT),
    "context_459_test_sem_seg": Official((5105,), _CONTEXT, absent=114),
    "voc_2012_train_sem_seg": Official((1464, 10582), _VOC),
    "voc_2012_train_base_sem_seg": Official((1464, 10582), _VOC, absent=5),
    "voc_2012_train_images": Official((1464, 10582), _VOC),
    "voc_2012_test_sem_seg": Official((1449,), _VOC),
    "voc_2012_test_background_sem_seg": Official((1449,), _VOC),
    "voc_2012_21_test_sem_seg": Official((1449,), _VOC),
    "context_60_test_sem_seg": Official((5105,), _CONTEXT),
    "coco_object_81_test_sem_seg": Official((5000,), _COCO),
    "cityscapes_19_train_sem_seg": Official((2975,), _CITYSCAPES),
    "cityscapes_19_test_sem_seg": Official((500,), _CITYSCAPES),
}


#: Endings of names for the same files under other words.
_VARIANTS = ("_synonyms", "_rest", "_spaced", "_zero_shot")


def official_for(name: str) -> Official | None:
    """What the makers of a registered data set say, None if it is no benchmark."""
    for ending in _VARIANTS:
        name = name.removesuffix(ending)
    return OFFICIAL.get(name)


def check_count(name: str, num_images: int, *, strict: bool = False) -> list[Finding]:
    """Compare the number of images with the official one.

    Args:
        name: of the data set.
        num_images: found.
        strict: too few are a finding; otherwise a note, for a sample may be meant to be one.
    """
    official = official_for(name)
    if official is None or num_images in official.images:
        return []
    most = max(official.images)
    text = f"{num_images} of {' or '.join(map(str, official.images))} official images"
    source = f"The number is from {official.source}."
    if num_images > most:
        cure = f"Images of another split lie among them. {source}"
        return [Finding("too-many-images", text, cure)]
    cure = f"Whole split: unpack the download anew and prepare it. {source}"
    return [Finding("too-few-images", text, cure, is_note=not strict)]


def is_whole(name: str, num_images: int) -> bool:
    """Whether this is the official number of images."""
    official = official_for(name)
    return official is not None and num_images in official.images
