"""What regions of one colour give, each named by a system that compares whole images with words.

The baseline for systems that learn from captions alone: k-means of a picture's colours (Lab) makes
as many regions as the system has groups; a region is shown alone, on grey, and gets the word whose
text is nearest to that image. So words come from the system, and outlines from colour.

Example:
    python -m benchmarks.colour_regions --config-file configs/mini/small_world_pgseg.yaml \
        MODEL.WEIGHTS output/pgseg/model_final.pth
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report_file import origin, write_report

if TYPE_CHECKING:
    import numpy as np

    from stseg.modeling.text import ClassEmbeddings

_GREY = 127.0
_ROUNDS, _TRIES = 20, 3


def colour_regions(image: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Regions of like colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        count: of regions, at least 1.
        seed: of the start.

    Returns:
        (H, W) int64 in [0, count).
    """
    import cv2
    import numpy as np

    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, _ROUNDS, 0.5)
    _, labels, _ = cv2.kmeans(lab, count, None, stop, _TRIES, cv2.KMEANS_PP_CENTERS)
    return labels.reshape(image.shape[:2]).astype(np.int64)


def named_regions(
    model: Any, image: np.ndarray, regions: np.ndarray, embeddings: ClassEmbeddings
) -> np.ndarray:
    """Give each region the word that is nearest to it.

    Args:
        model: whose features hold "image_embeds", such as PGSeg, in evaluation.
        image: (H, W, 3) uint8 RGB.
        regions: (H, W).
        embeddings: of T classes.

    Returns:
        (H, W) int64 class ids.
    """
    import numpy as np
    import torch
    from torch.nn import functional as F

    ids, places = np.unique(regions, return_inverse=True)
    shown = [np.where((regions == i)[..., None], image, _GREY) for i in ids]
    with torch.no_grad():
        alone = [torch.from_numpy(x.transpose(2, 0, 1)).float().to(model.device) for x in shown]
        found = F.normalize(model.encode(alone).tensors["image_embeds"].float(), dim=-1)
        names = found @ embeddings.mean_over_templates().float().T
        classes = embeddings.of_best_names(names).argmax(-1).cpu().numpy()
    return classes[places.reshape(regions.shape)]


def measure(config: Path, opts: Sequence[str]) -> dict[str, float]:
    """Metrics in percent of the regions' names on the first data set of DATASETS.TEST."""
    import numpy as np
    from detectron2.data import DatasetCatalog

    from stseg.checkpoint import load_for_evaluation
    from stseg.config import setup_cfg
    from stseg.data import dataset_label_reader, dataset_vocabulary, read_image
    from stseg.evaluation import ConfusionMatrix
    from stseg.modeling import build_model

    cfg = setup_cfg(str(config), list(opts))
    model = build_model(cfg).eval()
    load_for_evaluation(model, cfg.MODEL.WEIGHTS)
    name = cfg.DATASETS.TEST[0]
    vocabulary, read = dataset_vocabulary(name), dataset_label_reader(name)
    embeddings, confusion = model.embed(vocabulary), ConfusionMatrix(len(vocabulary))
    for record in DatasetCatalog.get(name):
        image = np.asarray(read_image(record["file_name"]))
        regions = colour_regions(image, cfg.MODEL.PGSEG.NUM_GROUPS[1])
        labels = named_regions(model, image, regions, embeddings)
        confusion.update(labels, read(record["sem_seg_file_name"]))
    ious = {f"IoU-{n}": 100 * x for n, x in zip(vocabulary.names, confusion.iou(), strict=True)}
    return {"mIoU": 100 * confusion.summary()["mIoU_gt"], **ious}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", type=Path, required=True, metavar="YAML")
    add("--json", type=Path, metavar="FILE", help="for what was found")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys")
    args = parser.parse_args(argv)
    found = measure(args.config_file, args.opts)
    print(f"mIoU {found['mIoU']:.1f}")
    write_report(args.json, {**origin("benchmarks.colour_regions", argv), "figures": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
