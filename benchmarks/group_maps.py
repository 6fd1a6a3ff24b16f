"""Pictures of what the groups of a PGSeg are: photograph, groups, named groups, truth.

Example:
    python -m benchmarks.group_maps --config-file configs/mini/small_world_pgseg.yaml \
        --out groups.png MODEL.WEIGHTS output/pgseg/model_final.pth

Groups have colours of their own, which say nothing; names have those of the legend's rule, as
everywhere. The first pictures of the first data set of DATASETS.TEST are shown, not chosen ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_GAP = 4


def group_map(shares: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The greatest group of each pixel.

    Args:
        shares: (G, h, w) float32.
        size: (H, W) in pixels.

    Returns:
        (H, W) int64 in [0, G).
    """
    import torch
    from torch.nn import functional as F

    maps = torch.from_numpy(shares)[None]
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)[0].argmax(0).numpy()


def in_a_grid(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Pictures of one size, (H, W, 3) uint8 each, on white with gaps between them."""
    import numpy as np

    def spaced(parts: Sequence[np.ndarray], axis: int) -> np.ndarray:
        shape = list(parts[0].shape)
        shape[axis] = _GAP
        white = np.full(shape, 255, np.uint8)
        return np.concatenate([x for part in parts for x in (part, white)][:-1], axis)

    return spaced([spaced(row, 1) for row in rows], 0)


def draw(config: Path, opts: Sequence[str], count: int) -> np.ndarray:
    """The grid, a picture in a row: (H, W, 3) uint8."""
    import numpy as np
    import torch
    from detectron2.data import DatasetCatalog

    from stseg.checkpoint import load_for_evaluation
    from stseg.config import setup_cfg
    from stseg.data import dataset_label_reader, dataset_vocabulary, read_image
    from stseg.modeling import build_model
    from stseg.render import paint_labels
    from stseg.structures import IGNORE_LABEL

    cfg = setup_cfg(str(config), list(opts))
    model = build_model(cfg).eval()
    load_for_evaluation(model, cfg.MODEL.WEIGHTS)
    name = cfg.DATASETS.TEST[0]
    vocabulary, read = dataset_vocabulary(name), dataset_label_reader(name)
    rows = []
    for record in DatasetCatalog.get(name)[:count]:
        image = np.asarray(read_image(record["file_name"]))
        batch = [torch.from_numpy(image.transpose(2, 0, 1).copy()).float().to(model.device)]
        with torch.no_grad():
            features = model.encode(batch)
            shares, classes = model.logits(features.tensors, model.embed(vocabulary))
        groups = group_map(shares[0].float().cpu().numpy(), image.shape[:2])
        named = classes[0].argmax(-1).cpu().numpy()[groups]
        truth = read(record["sem_seg_file_name"]).astype(np.int64)
        truth[truth == IGNORE_LABEL] = -1
        ids = [f"group {i}" for i in range(shares.shape[1])]
        painted = [
            paint_labels(image, groups, ids),
            paint_labels(image, named, vocabulary.names),
            paint_labels(image, truth, vocabulary.names),
        ]
        rows.append([image, *painted])
    return in_a_grid(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", type=Path, required=True, metavar="YAML")
    add("--count", type=int, default=6, help="of pictures (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="PNG")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys")
    args = parser.parse_args(argv)
    if args.count < 1:
        parser.error(f"--count: expected a number from 1 on, got {args.count}")
    from PIL import Image

    picture = draw(args.config_file, args.opts, args.count)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(args.out)
    print(f"written to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
