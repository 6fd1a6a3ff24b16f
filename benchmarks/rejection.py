"""What category early rejection saves and what it changes, on a trained model.

For every number of classes kept per cell (0 = no rejection): classes alive after each of the three
choices, time of the decoder and of the whole, mIoU (classes in the labels), and how many pixels are
answered otherwise than without rejection. Distractors are names from --pool beside the classes, so
that there is something to reject.

Example:
    python -m benchmarks.rejection --config-file configs/mini/stseg_mini.yaml \
        --data-set small_world_val_sem_seg --images 30 --topk 1 2 4 8 \
        --distractors 100 --pool stseg/data/datasets/vocab/ade20k_847.json
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.model_flags import add_model_flags, predictor_of
from benchmarks.report_file import markdown_table, write_report


def show(rows: Sequence[Mapping]) -> None:
    """Print the table."""
    heads = ["k", "alive", "decoder, CPU ms", "whole, CPU ms", "decoder over k = 0", "mIoU"]
    lines = [
        [
            row["topk"] or "all",
            ", ".join(f"{alive:.0f}" for alive in row["alive"]),
            f"{1000 * row['decoder']:.0f}",
            f"{1000 * row['whole']:.0f}",
            f"{rows[0]['decoder'] / row['decoder']:.2f}x",
            f"{100 * row['mIoU']:.2f}",
            f"{100 * row['changed']:.2f} %",
        ]
        for row in rows
    ]
    print(markdown_table([*heads, "pixels changed"], lines))


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_model_flags(parser)
    add("--topk", type=int, nargs="+", default=(1, 2, 4, 8), metavar="K")
    add("--distractors", type=int, default=0, metavar="N")
    add("--pool", default="", metavar="NAMES", help='words for them: "a; b", .txt or .json')
    add("--json", type=Path, metavar="FILE", help="file for the figures")
    args = parser.parse_args(argv)
    from detectron2.data import DatasetCatalog

    from benchmarks.rejection_watch import measure
    from stseg.data.datasets import dataset_label_reader, dataset_vocabulary
    from stseg.tools.vocabulary import with_distractors, words_of

    predictor = predictor_of(args)
    rows = measure(
        predictor,
        DatasetCatalog.get(args.data_set)[: args.images],
        with_distractors(
            dataset_vocabulary(args.data_set).names, words_of(args.pool), args.distractors
        ),
        dataset_label_reader(args.data_set),
        (0, *args.topk),
    )
    show(rows)
    write_report(args.json, rows)
    return rows


if __name__ == "__main__":
    main()
