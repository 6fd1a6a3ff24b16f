"""How much comes off the cosines of seen classes, told without a label of any unseen one (ours).

A model that has had masks of seen classes alone prefers them, and `MODEL.CEL.SEEN_OFFSET` takes
that back. How much is right would be read off labels of unseen classes, which nobody has. But the
frozen image tower was taught by captions: masks gave it no preference. So a part of the training
images is looked at, without labels: cell by cell the tower gives unseen classes some share of them,
and the offset is that at which the model's own labels give them the same. It is wrong by as much as
the tower errs to one side; that it errs to both does no harm.

Example:
    python -m benchmarks.seen_offset --config-file configs/mini/small_world_cel.yaml \
        MODEL.WEIGHTS output/cel/model_final.pth
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report_file import origin, write_report

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from stseg.modeling.meta_arch import CEL
    from stseg.modeling.text import ClassEmbeddings
    from stseg.structures import Vocabulary

KEY = "MODEL.CEL.SEEN_OFFSET"
#: What is tried; at MODEL.CEL.TEMPERATURE 0.01 a step changes odds by a factor of e.
OFFSETS = tuple(k / 100 for k in range(31))
#: Longest side in pixels at which the model's labels are counted: areas need no outlines.
_SIDE = 64


def chosen_offset(offsets: Sequence[float], shares: Sequence[float], wanted: float) -> float:
    """The offset that gives unseen classes the share nearest to one that is wanted.

    Args:
        offsets: that were tried.
        shares: of all pixels, that each gives to unseen classes, in [0, 1].
        wanted: in [0, 1].

    Returns:
        One of the offsets; of equally good ones the least.
    """
    pairs = zip(offsets, shares, strict=True)
    return min(pairs, key=lambda pair: (abs(pair[1] - wanted), pair[0]))[0]


def unseen_shares(
    model: CEL,
    items: Iterable[dict[str, Any]],
    vocabulary: Vocabulary,
    offsets: Sequence[float] = OFFSETS,
) -> tuple[float, list[float]]:
    """Which part of some images the tower, and the model with each offset, give to unseen classes.

    Args:
        model: left as it is.
        items: its inputs, of at least one image; labels are not asked for.
        vocabulary: T classes, marked.
        offsets: taken off cosines of seen classes, one after the other.

    Returns:
        The tower's share and one per offset, means over images, in [0, 1].

    Raises:
        ValueError: if a class has no mark, or none is unseen, or none seen.
    """
    import numpy as np
    import torch

    seen = vocabulary.seen
    if seen is None or len(set(seen)) < 2:
        raise ValueError(
            "vocabulary.seen: expected marks of seen and of unseen classes, between which the "
            f"offset is chosen, got {seen}. Name a data set of both in DATASETS.TEST."
        )
    unseen = ~torch.tensor(seen, device=model.device)
    kept, rows = model.scoring.seen_offset, []
    try:
        with torch.no_grad():
            embeddings = model.embed(vocabulary)
            for item in items:
                image = item["image"].to(model.device, torch.float32)
                row = [unseen[tower_labels(model, image, embeddings)].float().mean().item()]
                encoded, size = model.encoded(image, kept_bytes=1 << 30), _small(image)
                for offset in offsets:
                    model.scoring.seen_offset = offset
                    source = model.scores_of(encoded, embeddings, vocabulary).at(size)
                    labels = model.best(source).labels.long()
                    row.append(unseen[labels].float().mean().item())
                rows.append(row)
    finally:
        model.scoring.seen_offset = kept
    tower, *shares = np.mean(rows, axis=0).tolist()
    return tower, shares


def tower_labels(model: CEL, image: Tensor, embeddings: ClassEmbeddings) -> Tensor:
    """The class whose best name is nearest to each cell of the frozen tower's map: (h, w) int64.

    Args:
        model: gives the tower.
        image: (3, H, W) RGB in [0, 255].
        embeddings: of the classes.
    """
    from torch.nn import functional as F

    from stseg.modeling.scores import pad_to_batch

    tower = model.image_encoder
    shapes = tower.output_shape()
    coarsest, stride = max(s.stride for s in shapes.values()), shapes["dense"].stride
    dense = tower(pad_to_batch([image], tower.pixel_mean, coarsest))["dense"][0]
    height, width = (-(-side // stride) for side in image.shape[-2:])
    cells = F.normalize(dense[:, :height, :width].float(), dim=0).permute(1, 2, 0)
    names = cells @ embeddings.mean_over_templates().float().T
    return embeddings.of_best_names(names).argmax(-1)


def _small(image: Tensor) -> tuple[int, int]:
    height, width = image.shape[-2:]
    scale = min(1.0, _SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Shares of images of DATASETS.TRAIN under the names of DATASETS.TEST, and the choice."""
    from detectron2.data import DatasetCatalog

    from stseg.checkpoint import load_for_evaluation, spare_encoder_files
    from stseg.config import setup_cfg
    from stseg.data import build_record_loader, dataset_vocabulary, spread
    from stseg.modeling import build_model
    from stseg.modeling.meta_arch import CEL

    cfg = setup_cfg(args.config_file, args.opts)
    model = build_model(spare_encoder_files(cfg)).eval()
    if not isinstance(model, CEL):
        raise ValueError(
            f"MODEL.META_ARCHITECTURE: expected CEL, which has {KEY}, got {type(model).__name__}."
        )
    load_for_evaluation(model, cfg.MODEL.WEIGHTS)
    name, vocabulary = cfg.DATASETS.TRAIN[0], dataset_vocabulary(cfg.DATASETS.TEST[0])
    every = DatasetCatalog.get(name)
    records = [{"file_name": every[i]["file_name"]} for i in spread(args.images, len(every))]
    items = (
        item for batch in build_record_loader(cfg, records, name, vocabulary) for item in batch
    )
    tower, shares = unseen_shares(model, items, vocabulary)
    return {
        "keys": {KEY: chosen_offset(OFFSETS, shares, tower)},
        "images": len(records),
        "tower": tower,
        "shares": dict(zip(map(str, OFFSETS), shares, strict=True)),
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Choose, print and write JSON, whose "keys" are those to set in evaluation."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="YAML", help="of CEL, of stage 1")
    add("--images", type=int, default=100, metavar="N", help="of the first of DATASETS.TRAIN,"
        " spread over it (default: %(default)s)")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="for what was found")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys")
    args = parser.parse_args(argv)
    found = measure(args)
    shares = found["shares"]
    print(f"The tower gives {found['tower']:.1%} of {found['images']} images to unseen classes.")
    print(f"The model gives them {shares['0.0']:.1%} as it is.")
    for key, value in found["keys"].items():
        print(f"{key} {value:g}: {shares[str(value)]:.1%}")
    write_report(args.json, {**origin("benchmarks.seen_offset", argv), **found})
    return found


if __name__ == "__main__":
    main()
