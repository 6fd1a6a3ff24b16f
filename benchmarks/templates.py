r"""What templates chosen per class bring without training: answers and pseudo-labels.

Templates are chosen on the images of one set, without labels, and judged on another, with labels
(settings are chosen on target_dev, never on target_val). Rows: all templates; the k surest of each
class, which is `SELF_TRAINING.TEMPLATES.TOP` k; k drawn at random; the k least sure. The last two
tell whether entropy knows anything. "mIoU" and "pixels" are of the model's answers; "labelled" is
the share of pixels that get a pseudo-label, "right" the share of these that are right; all in
percent. "apart" is the mean distance, 1 - cosine, of a class's templates from their mean: how much
there is to choose from.

Example:
    python -m benchmarks.templates --config-file configs/mini/adapt_small_world.yaml \
        --chosen-on small_world_target_train_sem_seg --data small_world_target_dev_sem_seg
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report_file import markdown_table, origin, write_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detectron2.config import CfgNode

    from stseg.modeling.meta_arch import STSeg
    from stseg.self_training import DatasetLabeler, TemplateCounts


def rankings(counts: TemplateCounts, tops: Sequence[int]) -> dict[str, list[list[int]]]:
    """Templates of each class, by the name of a row; the same classes are left out of all."""
    import numpy as np

    rng, rows = np.random.default_rng(0), {}
    drawn = rng.permuted(np.tile(np.arange(counts.cells.shape[1]), (len(counts.cells), 1)), axis=1)
    backwards = replace(counts, entropy=-counts.entropy)
    for top in tops:
        best = counts.best(top)
        rows[f"{top}, surest"] = best
        rows[f"{top}, at random"] = [
            list(map(int, row[:top])) if chosen else []
            for row, chosen in zip(drawn, best, strict=True)
        ]
        rows[f"{top}, least sure"] = backwards.best(top)
    return rows


def judge(model: STSeg, labeler: DatasetLabeler, records: Sequence[dict[str, Any]]) -> dict:
    """Answers and pseudo-labels of a model with its present facts, beside the truth."""
    import numpy as np

    from stseg.data import dataset_label_reader
    from stseg.evaluation import ConfusionMatrix
    from stseg.modeling.scores import label_maps
    from stseg.render import labels_at_size

    read = dataset_label_reader(labeler.target.name)
    confusion = ConfusionMatrix(len(labeler.target.vocabulary))
    pixels = np.zeros(3, np.int64)  # known, labelled, right
    plain = [{"file_name": record["file_name"]} for record in records]
    for record, item in zip(records, labeler.items(plain), strict=True):
        truth = read(record["sem_seg_file_name"])
        confusion.update(label_maps(model, [item])[0].labels.cpu().numpy(), truth)
        label = labels_at_size(labeler.label(model, item).label_map, truth.shape)
        known, labelled = truth >= 0, (truth >= 0) & (label >= 0)
        pixels += [known.sum(), labelled.sum(), (labelled & (label == truth)).sum()]
    found = confusion.summary()
    return {
        "miou": 100 * found["mIoU_gt"],
        "pixels": 100 * found["pACC"],
        "labelled": 100 * float(pixels[1] / max(pixels[0], 1)),
        "right": 100 * float(pixels[2] / max(pixels[1], 1)),
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """A row per choice, and how far apart the templates are."""
    import torch
    from detectron2.data import DatasetCatalog

    from stseg.checkpoint import load_for_evaluation, spare_encoder_files
    from stseg.config import setup_cfg
    from stseg.data import dataset_vocabulary, spread
    from stseg.modeling import build_model
    from stseg.self_training import Target, build_dataset_labeler, sum_counts, with_choice

    cfg: CfgNode = setup_cfg(args.config_file, ["MODEL.LOSS.IGNORED", "masked", *args.opts])
    model = build_model(spare_encoder_files(cfg)).eval()
    load_for_evaluation(model, cfg.MODEL.WEIGHTS)
    vocabulary = dataset_vocabulary(args.data)
    every = DatasetCatalog.get(args.data)
    records = [every[i] for i in spread(args.images or len(every), len(every))]
    chosen_on = Target(args.chosen_on, tuple(DatasetCatalog.get(args.chosen_on)), vocabulary)
    labeler = build_dataset_labeler(cfg, Target(args.data, (), vocabulary), model)
    counts = sum_counts(model, chosen_on, build_dataset_labeler(cfg, chosen_on, model).items)
    embeds = model.text_encoder(vocabulary).embeds
    mean = torch.nn.functional.normalize(embeds.mean(1, keepdim=True), dim=-1)
    choices = {"all": [[] for _ in vocabulary.names], **rankings(counts, args.top)}
    plain, rows = model.facts, []
    for name, best in choices.items():
        model.facts = with_choice(plain, vocabulary, model.text_encoder.templates, best)
        with torch.inference_mode():
            figures = judge(model, labeler, records)
        rows.append({"templates": name, "classes": sum(map(bool, best)), **figures})
    return {
        "templates": len(model.text_encoder.templates),
        "apart": float(1 - (embeds * mean).sum(-1).mean()),
        "images": {args.chosen_on: len(chosen_on.records), args.data: len(records)},
        "rows": rows,
    }


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="YAML", help="of stage 2")
    parser.add_argument("--chosen-on", required=True, metavar="SET", help="no label is read")
    parser.add_argument("--data", required=True, metavar="SET", help="with labels")
    parser.add_argument("--top", type=int, nargs="+", default=[1, 4, 16], metavar="K")
    parser.add_argument("--images", type=int, default=0, help="of --data, spread; 0 for all")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--opts", nargs="*", default=[], help="keys and values of the config")
    args = parser.parse_args(argv)
    found = measure(args)
    heads = ["templates", "classes", "mIoU", "pixels", "labelled", "right"]
    keys = ("miou", "pixels", "labelled", "right")
    cells = [
        [row["templates"], row["classes"], *(f"{row[key]:.2f}" for key in keys)]
        for row in found["rows"]
    ]
    print(f"{found['templates']} templates, {found['apart']:.2g} apart")
    print(markdown_table(heads, cells))
    report = {**origin("benchmarks.templates", argv), **found}
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
