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
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog

from benchmarks.report_file import markdown_table, write_report
from benchmarks.vocabularies import add_model_flags, predictor_of, words_of
from stseg import Predictor, Vocabulary
from stseg.data.datasets import dataset_label_reader, dataset_vocabulary
from stseg.evaluation.confusion import ConfusionMatrix
from stseg.evaluation.open_vocab import VocabularyVariant, with_distractors
from stseg.modeling.heads import cost_decoder

STAGES = 3


class Watch:
    """Counts, by rejection's choices, and seconds, of everything that is wrapped."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        """Start at 0; the clock is that of the CPU, all threads together, if not told."""
        self.clock = clock
        self.alive: list[int] = []
        self.seconds = 0.0

    def choosing(self, choose: Callable) -> Callable:
        """`surviving_classes`, counted."""

        def counted(*args, **kwargs):
            kept = choose(*args, **kwargs)
            self.alive.append(len(kept))
            return kept

        return counted

    def timed(self, function: Callable) -> Callable:
        """Any function, timed."""

        def watched(*args, **kwargs):
            start = self.clock()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += self.clock() - start

        return watched


def measure(
    predictor: Predictor,
    records: Sequence[Mapping[str, str]],
    asked: VocabularyVariant,
    read: Callable[[str], np.ndarray],
    topks: Sequence[int],
) -> list[dict]:
    """Score every setting on every image, the settings in turn.

    Args:
        predictor: of a model with a `CostAwareDecoder`.
        records: with "file_name" and "sem_seg_file_name".
        asked: the names, distractors included.
        read: path of a label map -> (H, W) ids, `IGNORE_LABEL` where not scored.
        topks: classes kept per cell and stage, 0 for all, which comes first.

    Returns:
        A row per setting: "topk", "alive" (three means), "decoder" and "whole" in CPU seconds per
        image, "mIoU" and "changed" in [0, 1].
    """
    head = predictor.model.head
    vocabulary = Vocabulary.parse([[name] for name in asked.names])
    matrices = {k: ConfusionMatrix(asked.num_classes) for k in topks}
    watches = {k: Watch() for k in topks}
    whole, changed, pixels = dict.fromkeys(topks, 0.0), dict.fromkeys(topks, 0), 0
    choose, decode, before = cost_decoder.surviving_classes, head.forward, head.rejection_topk
    predictor(records[0]["file_name"], vocabulary)  # warms up, and embeds the names
    try:
        for record in records:
            label, first = read(record["sem_seg_file_name"]), None
            pixels += label.size
            for k in topks:
                head.rejection_topk = k
                cost_decoder.surviving_classes = watches[k].choosing(choose)
                head.forward = watches[k].timed(decode)
                start = time.process_time()
                answer = asked.restore(predictor(record["file_name"], vocabulary).label_map)
                whole[k] += time.process_time() - start
                matrices[k].update(answer, label, name=record["file_name"])
                first = answer if first is None else first
                changed[k] += int((answer != first).sum())
    finally:
        cost_decoder.surviving_classes = choose
        head.rejection_topk = before
        vars(head).pop("forward", None)
    return [
        {
            "topk": k,
            "alive": np.mean(np.reshape(watches[k].alive, (-1, STAGES)), axis=0).tolist()
            if k
            else [float(len(asked.names))] * STAGES,
            "decoder": watches[k].seconds / len(records),
            "whole": whole[k] / len(records),
            "mIoU": matrices[k].summary()["mIoU_gt"],
            "changed": changed[k] / pixels,
        }
        for k in topks
    ]


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
