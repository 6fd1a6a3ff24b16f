"""What the approximations cost and what they gain, beside exact answers in one run.

Settings are tried in turn on every image: "rank=8" (MODEL.SEM_SEG_HEAD.TEMPLATE_RANK), "dtype=bf16"
(MODEL.DTYPE), "sam=768" (MODEL.SAM.INPUT_SIZE), or several, "rank=8,dtype=bf16". For each: time of
the decoder and of the whole, mIoU (classes in the labels), how many pixels are answered otherwise,
and the mean and the greatest difference of the probabilities where the network gives them. What a
vocabulary costs once, text embeddings and factors, is not in the times.

Only trained models' errors count. `--random N` takes the times at the size of --config-file with
random weights, images and embeddings of N names.

Example:
    python -m benchmarks.approximations --config-file configs/mini/stseg_mini.yaml \
        --data-set small_world_val_sem_seg --images 30
    python -m benchmarks.approximations --config-file configs/stseg/sed_convnextB_768.yaml \
        --random 150 --images 3 --settings rank=8
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.approximation_settings import TRIED, Setting
from benchmarks.case_settings import Case
from benchmarks.model_flags import add_model_flags, predictor_of
from benchmarks.report_file import markdown_table, write_report


def show(rows: Sequence[Mapping]) -> None:
    """Print the table."""
    exact, lines = rows[0], []
    for row in rows:
        line = [row["setting"], f"{1000 * row['decoder']:.0f}", f"{1000 * row['whole']:.0f}"]
        line += [f"{exact[key] / row[key]:.2f}x" for key in ("decoder", "whole")]
        if "mIoU" in row:
            line += [f"{100 * row['mIoU']:.2f}", f"{100 * row['changed']:.2f} %"]
            line += [f"{row['mean']:.1e}", f"{row['largest']:.1e}"]
        lines.append(line)
    heads = ["setting", "decoder, ms", "whole, ms", "decoder, gain", "whole, gain", "mIoU"]
    heads += ["pixels changed", "mean difference", "largest"]
    print(markdown_table(heads[: len(lines[0])], lines))


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_model_flags(parser)
    add("--settings", type=Setting.parse, nargs="+", metavar="KEY=VALUE[,...]")
    add("--random", type=int, metavar="N", help="times only: random weights, N names")
    add("--threads", type=int, default=1, help="of PyTorch, with --random")
    add("--json", type=Path, metavar="FILE", help="file for the figures")
    args = parser.parse_args(argv)
    from detectron2.data import DatasetCatalog

    from benchmarks.approximation_trials import measure, measure_times
    from stseg.config import setup_cfg
    from stseg.data.datasets import dataset_label_reader, dataset_vocabulary

    settings = args.settings or [Setting.parse(text) for text in TRIED]
    if args.random:
        case = Case(
            side="stseg",
            classes=args.random,
            image_size=setup_cfg(args.config_file).MODEL.STSEG.IMAGE_SIZE[0],
            answer="labels",
            threads=args.threads,
            config_file=args.config_file,
        )
        rows = measure_times(case, args.images or 1, settings)
    else:
        predictor = predictor_of(args)
        rows = measure(
            predictor,
            DatasetCatalog.get(args.data_set)[: args.images],
            dataset_vocabulary(args.data_set),
            dataset_label_reader(args.data_set),
            settings,
        )
    show(rows)
    write_report(args.json, rows)
    return rows


if __name__ == "__main__":
    main()
