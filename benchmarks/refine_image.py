r"""What SAM makes of pseudo-labels from the picture that the model saw, and from the file's own.

For images with labels, which are used for nothing else: the gated masks of the main branch as they
are, and refined with REFINE.IMAGE "model" and "file". "IoU" is the mean over accepted classes and
images of a class's pixels with its true ones, "right" the share of labelled pixels that are right,
"labelled" the share that is labelled. Seconds are CPU time of this process for all of a label,
sides in turn; SAM's share of them is the difference to the first row.

Example:
    OMP_NUM_THREADS=1 python -m benchmarks.refine_image --images 50 \
        --config-file configs/mini/adapt_camvid.yaml --weights output/camvid/model_final.pth \
        --data facades=folder:FACADES,split=train
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report_file import markdown_table, origin, write_report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDES = {
    "not refined": ["SELF_TRAINING.REFINE.ENABLED", False],
    "model": ["SELF_TRAINING.REFINE.IMAGE", "model"],
    "file": ["SELF_TRAINING.REFINE.IMAGE", "file"],
}


def class_ious(found: NDArray[np.int32], truth: NDArray[np.int32]) -> list[float]:
    """IoU of each class that is labelled with its true pixels, where the truth is known."""
    known = truth >= 0
    ious = []
    for class_id in {int(i) for i in found[known & (found >= 0)].flat}:
        mine, true = (found == class_id) & known, truth == class_id
        ious.append(float((mine & true).sum() / (mine | true).sum()))
    return ious


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row per side."""
    import numpy as np
    import torch
    from detectron2.data import DatasetCatalog

    from stseg.checkpoint import load_for_evaluation, spare_encoder_files
    from stseg.config import parse_entry, parse_flag, setup_cfg
    from stseg.data import dataset_label_reader, dataset_vocabulary, register_data, spread
    from stseg.modeling import build_model
    from stseg.render import labels_at_size
    from stseg.self_training import Target, build_dataset_labeler

    entry = parse_entry(parse_flag(args.data), "--data")
    register_data(entry)
    every = DatasetCatalog.get(entry.name)
    records = [every[i] for i in spread(args.images, len(every))]
    vocabulary, read = dataset_vocabulary(entry.name), dataset_label_reader(entry.name)
    opts = ["MODEL.WEIGHTS", args.weights, "MODEL.LOSS.IGNORED", "masked"]
    cfgs = {k: setup_cfg(args.config_file, [*opts, *v, *args.opts]) for k, v in SIDES.items()}
    model = build_model(spare_encoder_files(next(iter(cfgs.values())))).eval()
    load_for_evaluation(model, args.weights)
    target = Target(entry.name, tuple(records), vocabulary)
    labelers = {side: build_dataset_labeler(cfg, target, model) for side, cfg in cfgs.items()}
    seconds = dict.fromkeys(SIDES, 0.0)
    ious: dict[str, list[float]] = {side: [] for side in SIDES}
    pixels = {side: np.zeros(3, np.int64) for side in SIDES}  # known, labelled, right
    plain = [{"file_name": record["file_name"]} for record in records]
    items = labelers["model"].items(plain)
    with torch.inference_mode():
        for record, item in zip(records, items, strict=True):
            truth = read(record["sem_seg_file_name"])
            for side, labeler in labelers.items():
                start = time.process_time()
                label = labeler.label(model, item).label_map
                seconds[side] += time.process_time() - start
                label = labels_at_size(label, truth.shape)
                ious[side] += class_ious(label, truth)
                known, labelled = truth >= 0, (truth >= 0) & (label >= 0)
                pixels[side] += [known.sum(), labelled.sum(), (labelled & (label == truth)).sum()]
    return [
        {
            "side": side,
            "iou": 100 * float(np.mean(ious[side])) if ious[side] else float("nan"),
            "masks": len(ious[side]),
            "right": 100 * float(pixels[side][2] / max(pixels[side][1], 1)),
            "labelled": 100 * float(pixels[side][1] / max(pixels[side][0], 1)),
            "cpu_seconds": seconds[side] / len(records),
        }
        for side in SIDES
    ]


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="YAML")
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--data", required=True, metavar="NAME=FORMAT:PATH", help="with labels")
    parser.add_argument("--images", type=int, default=50, help="spread over the set")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--opts", nargs="*", default=[], help="keys and values of the config")
    args = parser.parse_args(argv)
    rows = measure(args)
    heads = ["SAM sees", "IoU %", "masks", "right %", "labelled %", "CPU s per image"]
    cells = [
        [row["side"], f"{row['iou']:.2f}", row["masks"], f"{row['right']:.2f}"]
        + [f"{row['labelled']:.2f}", f"{row['cpu_seconds']:.3f}"]
        for row in rows
    ]
    print(markdown_table(heads, cells))
    report = {**origin("benchmarks.refine_image", argv), "rows": rows}
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
