r"""What a training step costs: time and peak memory, of STSeg without DEA (= SED) beside SED's own.

Every side runs in a process of its own, from the same weights, images, labels and text embeddings
(random ones), with ConvNeXt-B and AdamW:

    reference                  a checkout of github.com/xb534/SED by its own classes
    stseg                      as configured by configs/stseg/sed_convnextB_768.yaml
    stseg, stages recomputed   with MODEL.SEM_SEG_HEAD.GRADIENT_CHECKPOINTING
    stseg, all recomputed      with MODEL.CLIP.GRADIENT_CHECKPOINTING as well

"Peak" is the memory of the whole process at its highest (resident; on a GPU what PyTorch
allocated), "added" the same less what stood before the first step: weights, and the libraries.
Losses and gradients of the first step are compared with the reference's.

On the device "meta" nothing is computed: the bytes of live tensors are counted, which is what a GPU
must hold besides the libraries' workspaces and the allocator's gaps. Ours only.

Examples:
    python -m benchmarks.training --reference ../SED --reference-python ../SED/.venv/bin/python \
        --crop 256 --classes 60 --threads 2
    python -m benchmarks.training --batch 4 --crop 768 --classes 171 --device meta
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import own_process
from benchmarks.case_settings import OURS, TrainingCase
from benchmarks.report_file import write_report

REFERENCE = "reference"
RATIOS = ("peak_mib", "added_mib", "best_s", "cpu_s")


def measured_apart(case: TrainingCase, python: str = sys.executable) -> dict:
    """The figures of a case from a fresh process.

    Raises:
        RuntimeError: with the end of its messages, if it fails.
    """
    return own_process.measured_apart("benchmarks.training_case", case, case.side, python)


def ratios(rows: Sequence[dict]) -> list[dict]:
    """Memory and time of every side of ours over the reference's; below 1 is better."""
    theirs = next((row for row in rows if row["side"] == REFERENCE), None)
    if theirs is None:
        return []
    return [
        {"side": row["side"], **{key: row[key] / theirs[key] for key in RATIOS}}
        for row in rows
        if row is not theirs
    ]


def show(report: dict) -> None:
    """Print the tables."""
    case = report["case"]
    print(
        f"\nBatch {case['batch']}, {case['crop']} x {case['crop']} pixels, {case['classes']} "
        f"classes, {case['device']}, {case['threads']} threads, {case['dtype']}\n\n"
        f"{'':27s}{'s/step':>8s}{'by CPU':>8s}{'peak MiB':>10s}{'added MiB':>11s}"
        f"{'loss':>12s}{'gradient':>12s}"
    )
    for row in report["rows"]:
        run = "losses" in row
        seconds = f"{row['best_s']:8.2f}{row['cpu_s']:8.2f}" if run else f"{'':16s}"
        first = f"{sum(row['losses'].values()):12.6f}{row['gradient_norm']:12.6f}" if run else ""
        print(f"{row['side']:27s}{seconds}{row['peak_mib']:10.0f}{row['added_mib']:11.0f}{first}")
    if report["ratios"]:
        print(f"\n{'over the reference':27s}{'time':>8s}{'by CPU':>8s}{'peak':>10s}{'added':>11s}")
    for row in report["ratios"]:
        print(
            f"{row['side']:27s}{row['best_s']:8.2f}{row['cpu_s']:8.2f}"
            f"{row['peak_mib']:10.2f}{row['added_mib']:11.2f}"
        )
    if report["ratios"]:
        print(f"\n{'relative difference':27s}{'loss':>10s}{'gradient':>10s}{'worst tensor':>14s}")
    for row in report["rows"]:
        if apart := row.get("difference"):
            print(
                f"{row['side']:27s}{apart['loss']:10.1e}{apart['gradient']:10.1e}"
                f"{apart['worst']:14.1e}  {apart['worst_name']}"
            )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--batch", type=int, default=1, help="images per step")
    add("--crop", type=int, default=256, help="side of the images in pixels, a multiple of 32")
    add("--classes", type=int, default=60, help="number of names")
    add("--device", default="cpu", help="such as cpu or cuda, or meta to count bytes")
    add("--threads", type=int, default=1, help="of PyTorch")
    add(
        "--dtype",
        default="float32",
        choices=("float32", "float64"),
        help="float64 compares losses and gradients without float32's rounding",
    )
    add("--steps", type=int, default=2, help="timed steps after the first")
    add("--reference", default="", metavar="DIR", help="checkout of github.com/xb534/SED")
    add("--reference-python", default=sys.executable, metavar="FILE", help="its interpreter")
    add("--sides", nargs="+", default=list(OURS), choices=OURS, metavar="SIDE", help="of ours")
    add("--json", type=Path, help="file for the figures")
    args = parser.parse_args(argv)
    if args.crop < 32 or args.crop % 32:
        parser.error(f"--crop: expected a multiple of 32 (the stride of CLIP), got {args.crop}.")
    if args.device == "meta" and args.reference:
        parser.error("--device meta: expected no --reference, which needs values to choose by.")
    if args.steps < 1:
        parser.error(f"--steps: expected at least 1, got {args.steps}.")
    return args


def main(argv: Sequence[str] | None = None) -> dict:
    """Measure, print tables and write them as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    import torch

    shared = {k: getattr(args, k) for k in ("batch", "crop", "classes", "device")}
    shared |= {"threads": args.threads, "dtype": args.dtype, "steps": args.steps}
    sides = [REFERENCE, *args.sides] if args.reference else args.sides
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if args.reference:
            shared |= {"reference": str(Path(args.reference).resolve()), "folder": folder}
        for side in sides:
            python = args.reference_python if side == REFERENCE else sys.executable
            figures = measured_apart(TrainingCase(side=side, **shared), python)
            rows.append({"side": side, **figures})
    report = {
        "command": ["python", "-m", "benchmarks.training", *argv],
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "gpu": torch.cuda.get_device_name() if args.device.startswith("cuda") else None,
        "torch": torch.__version__,
        "case": {k: v for k, v in shared.items() if k not in ("reference", "folder")},
        "rows": rows,
        "ratios": ratios(rows),
    }
    show(report)
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
