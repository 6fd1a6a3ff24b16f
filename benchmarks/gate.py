r"""What pseudo-labels are worth under other settings of the gate, without training.

For images with labels, which are used for nothing else: per setting, of the gated masks alone and
after SAM, the share of labelled pixels that are right, the share of pixels that are labelled, and
both as one (right of all known pixels); further the share of right pixels below and above a
confidence of 0.5 among those of accepted classes. Every image is predicted once.

Example:
    OMP_NUM_THREADS=1 python -m benchmarks.gate --config-file configs/mini/adapt_small_world.yaml \
        --weights stseg://small_world/stseg_mini.pth --data-set small_world_target_dev_sem_seg
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report_file import markdown_table, origin, write_report

if TYPE_CHECKING:
    import numpy as np

#: Scoring, threshold, floor of a pixel, quantile.
SETTINGS = (
    ("max", 0.9, 0.0, 0.0),
    ("won", 0.9, 0.0, 0.0),
    ("mean", 0.9, 0.0, 0.0),
    ("mean", 0.7, 0.0, 0.0),
    ("won", 0.9, 0.3, 0.0),
    ("won", 0.9, 0.5, 0.0),
    ("won", 0.9, 0.7, 0.0),
    ("won", 0.7, 0.5, 0.0),
    ("won", 0.9, 0.0, 0.8),
    ("won", 0.9, 0.5, 0.8),
)


class Count:
    """Pixels of one row."""

    def __init__(self) -> None:
        self.known = self.labelled = self.right = 0

    def add(self, label: np.ndarray, truth: np.ndarray) -> None:
        """Count one image."""
        known = truth >= 0
        labelled = known & (label >= 0)
        self.known += int(known.sum())
        self.labelled += int(labelled.sum())
        self.right += int((labelled & (label == truth)).sum())

    def percent(self) -> tuple[float, float, float]:
        """Right of the labelled, labelled of all, right of all."""
        labelled, known = max(self.labelled, 1), max(self.known, 1)
        return (100 * self.right / labelled, 100 * self.labelled / known, 100 * self.right / known)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """A row per setting, and what lies below the floor."""
    import numpy as np
    import torch
    from detectron2.data import DatasetCatalog

    from stseg.checkpoint import load_for_evaluation, spare_encoder_files
    from stseg.config import setup_cfg
    from stseg.data import dataset_label_reader, dataset_vocabulary
    from stseg.modeling import build_model
    from stseg.render import labels_at_size
    from stseg.self_training import Labeler, Target, build_dataset_labeler
    from stseg.self_training.dataset_labeler import predict
    from stseg.self_training.gate import initial_masks
    from stseg.self_training.survey import Survey

    records = DatasetCatalog.get(args.data_set)[: args.images]
    vocabulary, read = dataset_vocabulary(args.data_set), dataset_label_reader(args.data_set)
    cfg = setup_cfg(args.config_file, ["MODEL.WEIGHTS", args.weights, *args.opts], device="cpu")
    model = build_model(spare_encoder_files(cfg)).eval()
    load_for_evaluation(model, args.weights)
    plain = tuple({"file_name": record["file_name"]} for record in records)
    labeler = build_dataset_labeler(cfg, Target(args.data_set, plain, vocabulary), model)
    sam, size = labeler.labeler.sam, cfg.SELF_TRAINING.LABEL_MAX_SIZE
    counts = {(k, how): Count() for k in SETTINGS for how in ("masks", "refined")}
    below, above = Count(), Count()
    with torch.inference_mode():
        answers = [predict(model, item, size) for item in labeler.items(plain)]
        for setting in SETTINGS:
            scoring, threshold, floor, quantile = setting
            surveys = [Survey.of(k, initial_masks(p, scoring)) for k, (p, _) in enumerate(answers)]
            limits = Survey.joined(surveys).thresholds(len(vocabulary), threshold, quantile)
            for how, branch in (("masks", None), ("refined", sam)):
                one = Labeler(vocabulary.names, scoring=scoring, min_pixel=floor, sam=branch)
                items = labeler.items(plain)
                for (probs, embedding), item, record in zip(answers, items, records, strict=True):
                    label = one.label(probs, item["image"], embedding, limits).label_map
                    truth = read(record["sem_seg_file_name"])
                    counts[setting, how].add(labels_at_size(label, truth.shape), truth)
                    if setting == SETTINGS[1] and how == "masks":
                        sure = labels_at_size(probs.amax(0).numpy(), truth.shape) >= 0.5
                        below.add(np.where(sure, -1, label), truth)
                        above.add(np.where(sure, label, -1), truth)
    rows = [{"setting": list(k), "labels": how, "percent": count.percent()}
            for (k, how), count in counts.items()]  # fmt: skip
    return {"rows": rows, "right_below_half": below.percent(), "right_above_half": above.percent()}


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="YAML")
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--data-set", required=True, metavar="NAME", help="registered, with labels")
    parser.add_argument("--images", type=int, default=100, help="the first of the set")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--opts", nargs="*", default=[], help="keys and values of the config")
    args = parser.parse_args(argv)
    report = measure(args)
    cells = [
        [*row["setting"], row["labels"], *(f"{value:.2f}" for value in row["percent"])]
        for row in report["rows"]
    ]
    heads = ["scoring", "threshold", "floor", "quantile", "labels"]
    print(markdown_table([*heads, "right %", "labelled %", "right of all %"], cells))
    for side in ("below", "above"):
        right, labelled, _ = report[f"right_{side}_half"]
        print(f"pixels {side} 0.5: {labelled:.1f} % of all, {right:.1f} % of them right")
    report |= origin("benchmarks.gate", argv)
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
