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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog

from benchmarks.report_file import write_report
from stseg import Predictor, Vocabulary
from stseg.config import setup_cfg
from stseg.data.datasets import dataset_label_reader, dataset_vocabulary
from stseg.data.readers.folders import register_from_cfg
from stseg.evaluation.confusion import ConfusionMatrix
from stseg.evaluation.open_vocab import (
    VocabularyVariant,
    permuted,
    renamed,
    with_distractors,
    with_synonyms,
)

GIVEN = "as given"


def variants(
    vocabulary: Vocabulary,
    pool: Sequence[str] = (),
    counts: Sequence[int] = (),
    tables: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, VocabularyVariant]:
    """All variants of a vocabulary that there are words for, by name."""
    names = vocabulary.names
    further = {name: group[1:] for name, group in zip(names, vocabulary.synonyms, strict=True)}
    further = {name: group for name, group in further.items() if group}
    found = {GIVEN: renamed(names, {}), "permuted": permuted(names)}
    if further:
        found["synonyms beside"] = with_synonyms(names, further)
        found["synonyms instead"] = renamed(names, {n: group[-1] for n, group in further.items()})
    for count in counts:
        found[f"{count} distractors"] = with_distractors(names, pool, count)
    return found | {title: renamed(names, table) for title, table in (tables or {}).items()}


def measure(
    predict: Callable[[str, Vocabulary], np.ndarray],
    records: Sequence[Mapping[str, str]],
    asked: Mapping[str, VocabularyVariant],
    read: Callable[[str], np.ndarray],
) -> list[dict]:
    """Score every variant on every image.

    Args:
        predict: path of an image and names -> (H, W) ids of these names.
        records: with "file_name" and "sem_seg_file_name".
        asked: variants by name, `GIVEN` first.
        read: path of a label map -> (H, W) ids, `IGNORE_LABEL` where not scored.

    Returns:
        A row per variant: "variant", "names", "mIoU" and "pACC" in [0, 1], and "changed", the share
        of all pixels answered otherwise than under `GIVEN`.
    """
    vocabularies = {title: Vocabulary.parse([[n] for n in v.names]) for title, v in asked.items()}
    matrices = {title: ConfusionMatrix(v.num_classes) for title, v in asked.items()}
    changed, pixels = dict.fromkeys(asked, 0), 0
    for record in records:
        label, given = read(record["sem_seg_file_name"]), None
        pixels += label.size
        for title, variant in asked.items():
            answer = variant.restore(predict(record["file_name"], vocabularies[title]))
            matrices[title].update(answer, label, name=record["file_name"])
            given = answer if given is None else given
            changed[title] += int((answer != given).sum())
    rows = []
    for title, matrix in matrices.items():
        figures = matrix.summary()
        rows.append(
            {
                "variant": title,
                "names": len(asked[title].names),
                "mIoU": figures["mIoU_gt"],
                "pACC": figures["pACC"],
                "changed": changed[title] / pixels,
            }
        )
    return rows


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


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say which model is asked, and about which images."""
    add = parser.add_argument
    add("--config-file", default="configs/mini/stseg_mini.yaml", metavar="FILE")
    add("--weights", metavar="FILE", help="instead of MODEL.WEIGHTS")
    add("--data-set", default="small_world_val_sem_seg", metavar="NAME", help="registered")
    add("--images", type=int, metavar="N", help="the first ones only")
    add(
        "--data",
        action="append",
        default=[],
        metavar="NAME=FORMAT:PATH",
        help="register data of one's own, as train_net.py does",
    )


def predictor_of(args: argparse.Namespace) -> Predictor:
    """The model that the flags ask for; registers the data that they name."""
    cfg = setup_cfg(args.config_file, data=args.data)
    register_from_cfg(cfg)
    return Predictor(cfg, weights=args.weights)


def words_of(pool: str | None) -> tuple[str, ...]:
    """Names to draw distractors from; two classes of one name may be among them."""
    return Vocabulary.parse(pool, allow_shared_names=True).names if pool else ()


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
    logging.getLogger("stseg").setLevel(logging.WARNING)
    predictor = predictor_of(args)
    vocabulary = dataset_vocabulary(args.data_set)
    pool = words_of(args.pool)
    tables = json.loads(args.tables.read_text(encoding="utf-8")) if args.tables else {}
    asked = variants(vocabulary, pool, args.distractors, tables)
    rows = measure(
        lambda path, names: predictor(path, names).label_map,
        DatasetCatalog.get(args.data_set)[: args.images],
        asked,
        dataset_label_reader(args.data_set),
    )
    show(rows)
    write_report(args.json, rows)
    return rows


if __name__ == "__main__":
    main()
