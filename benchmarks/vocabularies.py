"""How much a score depends on the words asked for: the same images under variants of the names.

Of a model and a labelled data set, mIoU (classes in the labels) under

    as given            the data set's first names
    permuted            the same in another order, which should change nothing
    synonyms beside     every further name of the data set as well, an answer to any counts
    synonyms instead    the last further name in place of the first
    N distractors       names beside the classes that no label holds, from --pool
    <a table's name>    words in place of names, from --tables, such as hypernyms

and how many pixels are answered otherwise than under "as given". Variants without words are left
out.

Example:
    python -m benchmarks.vocabularies --config-file configs/mini/stseg_mini.yaml \
        --data-set small_world_val_sem_seg --images 50 --distractors 10 100 \
        --pool stseg/data/datasets/vocab/ade20k_847.json --tables tables.json
    with tables.json such as {"hypernyms": {"cat": "animal", "car": "vehicle"}}
"""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.model_flags import add_model_flags, predictor_of
from benchmarks.report_file import write_report


def show(rows: Sequence[Mapping]) -> None:
    """Print the table."""
    heads = f"{'names':>7s}{'mIoU':>8s}{'change':>8s}{'pACC':>8s}{'pixels changed':>16s}"
    print(f"\n{'variant':24s}{heads}")
    for row in rows:
        print(
            f"{row['variant']:24s}{row['names']:7d}{100 * row['mIoU']:8.2f}"
            f"{100 * (row['mIoU'] - rows[0]['mIoU']):+8.2f}{100 * row['pACC']:8.2f}"
            f"{100 * row['changed']:15.2f}%"
        )


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_model_flags(parser)
    add("--distractors", type=int, nargs="+", default=(), metavar="N")
    add("--pool", metavar="NAMES", help='words to draw distractors from: "a; b", .txt or .json')
    add("--tables", type=Path, metavar="FILE", help="JSON: title to {name: word instead}")
    add("--json", type=Path, metavar="FILE", help="file for the figures")
    args = parser.parse_args(argv)
    if args.distractors and not args.pool:
        parser.error("--distractors: expected words to draw from in --pool, got none.")
    from detectron2.data import DatasetCatalog

    from stseg.data.datasets import dataset_label_reader, dataset_vocabulary
    from stseg.tools.vocabulary import measure, variants, words_of

    logging.getLogger("stseg").setLevel(logging.WARNING)
    predictor = predictor_of(args)
    vocabulary = dataset_vocabulary(args.data_set)
    pool = words_of(args.pool)
    tables = json.loads(args.tables.read_text(encoding="utf-8")) if args.tables else {}
    asked = variants(vocabulary, pool, args.distractors, tables)
    rows = measure(
        predictor,
        DatasetCatalog.get(args.data_set)[: args.images],
        asked,
        dataset_label_reader(args.data_set),
    )
    show(rows)
    write_report(args.json, rows)
    return rows


if __name__ == "__main__":
    main()
