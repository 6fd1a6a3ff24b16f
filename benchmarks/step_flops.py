"""Floating point operations of one training step, counted by torch, and the memory it peaks at.

Weights are random and text embeddings are replaced by random ones: their cost is paid once, not
per step. On a CPU take a small size and batch; convolutions and products grow with the pixels.

Example:
    python -m benchmarks.step_flops --config-file configs/stseg/stseg_convnextB_768.yaml \
        MODEL.STSEG.IMAGE_SIZE "[192, 192]" INPUT.CROP.SIZE "[192, 192]" \
        SOLVER.IMS_PER_BATCH 1 SOLVER.AMP.ENABLED False
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report_file import write_report


def main(argv: Sequence[str] | None = None) -> None:
    """Run one step and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args(argv)
    from benchmarks.step_flops_trainer import count, make_trainer

    report = count(make_trainer(args.config_file, args.opts))
    for name, flops in report["tflop"].items():
        print(f"{name:24s}{flops:10.3f} TFLOP")
    print(f"peak memory of the process {report['peak_gib']:.1f} GiB")
    write_report(args.json, report)


if __name__ == "__main__":
    main()
