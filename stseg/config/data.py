"""Keys of the data sets, the mapper, the loaders and the evaluators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stseg.config.rules import (
    FROM_1,
    NOT_NEGATIVE,
    SHARE,
    SHARE_ABOVE_0,
    SIZE,
    WHOLE,
    WHOLE_FROM_1,
    each,
    one_of,
)

if TYPE_CHECKING:
    from detectron2.config import CfgNode

FLIPS = ("horizontal", "vertical", "none")


def _rises(values: Any) -> bool:
    return values[0] <= values[1]


RULES = {
    "DATASETS.MAX_IMAGES": NOT_NEGATIVE,
    "DATASETS.MAX_BROKEN": SHARE,
    "DATALOADER.NUM_WORKERS": WHOLE,
    "INPUT.MIN_SIZE_TRAIN": each(WHOLE, "whole numbers of pixels, at least one"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": one_of(("choice", "range")),
    "INPUT.MAX_SIZE_TRAIN": WHOLE_FROM_1,
    "INPUT.MIN_SIZE_TEST": WHOLE,
    "INPUT.MAX_SIZE_TEST": WHOLE_FROM_1,
    "INPUT.FORMAT": one_of(("RGB",)),
    "INPUT.RANDOM_FLIP": one_of(FLIPS),
    "INPUT.CROP.TYPE": one_of(("absolute", "resized"), "SIZE is in pixels."),
    "INPUT.CROP.SIZE": SIZE,
    "INPUT.CROP.SCALE": each(
        SHARE_ABOVE_0, "two shares of the area in (0, 1], the smaller one first", 2, _rises
    ),
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": SHARE_ABOVE_0,
    "INPUT.BLUR_SIGMA": NOT_NEGATIVE,
    "INPUT.NOISE_STD": NOT_NEGATIVE,
    "DATALOADER.TEST_BATCH_SIZE": FROM_1,
    "TEST.EVALUATOR.BOOTSTRAP": NOT_NEGATIVE,
    "TEST.EVALUATOR.SAVE_EVERY": NOT_NEGATIVE,
    "DATALOADER.SAMPLER_TRAIN": one_of(("TrainingSampler",), "It shows each image once per epoch."),
}


def add_data_config(cfg: CfgNode) -> None:
    """Add the data keys to `cfg` and set Detectron2's own to the paper's protocol.

    Args:
        cfg: changed in place.
    """
    # Data sets of one's own: list of [name, image_dir, label_dir, names_file], all texts (label_dir
    # "" = images without labels), or of mappings such as {name: mine, format: labelme, path: DIR},
    # see stseg/config/data_entries.py for all keys. Relative paths start at the working directory.
    cfg.DATASETS.FOLDERS = []

    # Images with captions, for systems that learn from these: list of [name, path], or of mappings.
    # A path is that of a folder of tar shards, a glob of these, a CSV, TSV or JSONL, or a folder of
    # images with a .txt each. As entries of FOLDERS of the format "pairs", see datasets/README.md.
    cfg.DATASETS.PAIRS = []

    # Largest share, in [0, 1], of the last 1000 pairs looked at that may be broken: above it
    # training ends. Another pair takes the place of each; they are counted as "broken_pairs".
    cfg.DATASETS.MAX_BROKEN = 0.5

    # Only the first so many images of every data set, 0 = all. For trials; --dry-run sets it.
    cfg.DATASETS.MAX_IMAGES = 0

    # Detectron2's: shortest edge in pixels while training, and the limit of the longest one
    # (SED, section 4 of its recipe: 768 and 2666).
    cfg.INPUT.MIN_SIZE_TRAIN = (768,)
    cfg.INPUT.MAX_SIZE_TRAIN = 2666
    # Detectron2's: the same while testing (SED: 640 and 2560; 0 = keep the image's size).
    cfg.INPUT.MIN_SIZE_TEST = 640
    cfg.INPUT.MAX_SIZE_TEST = 2560
    # Detectron2's: channel order of images. "RGB" is the only one supported.
    cfg.INPUT.FORMAT = "RGB"
    # Detectron2's: training crop, (height, width) in pixels. "absolute" cuts it out of the resized
    # image; smaller ones are padded to it at the right and the bottom. "resized", which Detectron2
    # has not, resizes to it a random part of the file's image, whatever MIN_SIZE_TRAIN.
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = [768, 768]
    # The part's smallest and largest share of the image's area, in (0, 1]. For "resized" only.
    cfg.INPUT.CROP.SCALE = [0.08, 1.0]
    # Largest share of a crop that one class may fill, in (0, 1]; ten tries. 1.0 = no limit. For
    # "absolute" only.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Brightness, contrast, saturation and hue jitter of SSD (Liu et al., ECCV 2016) in training.
    cfg.INPUT.COLOR_AUG_SSD = True
    # Blur (largest sigma, pixels) and noise (largest deviation, of 255) on every second training
    # image each; 0 = none. For the strong view of self-training (ours).
    cfg.INPUT.BLUR_SIGMA = 0.0
    cfg.INPUT.NOISE_STD = 0.0
    # Mapper in stseg.data.mappers.MAPPER_REGISTRY that turns a record into a model input.
    cfg.INPUT.MAPPER_NAME = "STSegSemanticMapper"
    # The same for pairs of image and caption: what trains on these is tested on label maps.
    cfg.INPUT.CAPTION_MAPPER_NAME = "STSegCaptionMapper"

    # Images per process and step while testing.
    cfg.DATALOADER.TEST_BATCH_SIZE = 1
    _add_evaluator(cfg)


def _add_evaluator(cfg: CfgNode) -> None:
    CN = type(cfg)
    cfg.TEST.EVALUATOR = CN()
    # Boundary IoU too (Cheng et al., CVPR 2021), at about twice the cost of counting.
    cfg.TEST.EVALUATOR.BOUNDARY = False
    # Replicates for 95 % intervals and for the test of `python -m stseg.evaluation compare`, 0 for
    # none, and the seed of their draws.
    cfg.TEST.EVALUATOR.BOOTSTRAP = 0
    cfg.TEST.EVALUATOR.BOOTSTRAP_SEED = 0
    # How near names are, for open mIoU: .npy file of `python -m stseg.tools.name_similarity`, ""
    # for none; {dataset} in its name stands for the data set's.
    cfg.TEST.EVALUATOR.SIMILARITY = ""
    # With --eval-only: images of a process after which its counts are saved, so that the same
    # command goes on after an interruption; 0 = never.
    cfg.TEST.EVALUATOR.SAVE_EVERY = 0
    # File whose hash goes into the result. --eval-only sets it to the weights that it loads.
    cfg.TEST.EVALUATOR.WEIGHTS = ""
