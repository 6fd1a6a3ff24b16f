"""Time, memory and achieved FLOP/s of segmenting an image with N names, by part.

Every case, a side with a number of names and a batch size, runs in a fresh process. A line says

    best, median   seconds of one batch: resizing, normalising, both encoders, decoder, and answers
                   at the image's size (--answer); not reading images, nor the text tower, whose
                   embeddings are random here (see benchmarks/text.py)
    CPU            seconds of all threads together, the least of any forward: other programs on the
                   machine disturb it less
    GFLOP          10^9 operations of convolutions and matrix products, counted in forwards of
                   their own; other operations count nothing
    of peak        GFLOP per best second as a share of what one float32 (bf16) matrix product of
                   2048 a side (8192 on a GPU) reaches here, in this run, with the same threads
    peak MiB       the process's resident memory at its highest during the forwards, with weights
                   and libraries; on a GPU what PyTorch had allocated
    added MiB      the same less what was in use before the first forward
    seconds, peak of a part: without those of other parts in it; "post-processing" is all that is
                   outside the others: resizing, sigmoid, answers. Peak MiB: while it runs

Weights are random (ConvNeXt-B, and SAM ViT-B with --dea), so is the image. Without --dea and with
--config-file as it is, the model is SED. --reference DIR runs a checkout of github.com/xb534/SED
(see benchmarks/reference_sed.py) before each of our cases, eager, in float32 unless --dtype says
otherwise, one image after the other, as it takes no more; ours gets its weights, and answers are
compared at every fourth pixel. It sets TF32 on a GPU, and so do we.

Examples:
    python -m benchmarks.inference --classes 20 150 --json output/inference.json
    python -m benchmarks.inference --reference SED --reference-python SED/.venv/bin/python \
        --json output/inference.json --markdown output/inference.md --plot output/inference.png
    python -m benchmarks.inference --classes 150 459 --survivors 60 30 20 --reference SED
"""

import argparse
import dataclasses
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import own_process
from benchmarks.case_settings import Case
from benchmarks.inference_tables import growths, ratios, tables
from benchmarks.report_file import write_report, write_text

CLASSES = (20, 59, 150, 459, 847)
CONFIGS = {
    False: "configs/stseg/sed_convnextB_768.yaml",
    True: "configs/stseg/stseg_convnextB_768.yaml",
}


def measured_apart(case: Case, python: str = sys.executable) -> dict:
    """The figures of a case from a fresh process.

    Raises:
        RuntimeError: with the end of its messages, if it fails.
    """
    title = f"{case.side}, {case.classes} names, batch {case.batch}"
    return own_process.measured_apart("benchmarks.inference_case", case, title, python)


def run(args: argparse.Namespace) -> dict:
    """Measure all cases, the reference's before ours."""
    python = {"stseg": sys.executable, "reference": args.reference_python}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        common = _common(args, Path(folder))
        peak_case = Case("peak", device=args.device, dtype=args.dtype, threads=args.threads)
        peaks = [measured_apart(peak_case)["gflops"]]
        for batch in args.batch:
            for classes in args.classes:
                common["outputs"] = str(Path(folder) / f"{classes}_{batch}.pt")
                for side in ("reference", "stseg") if args.reference else ("stseg",):
                    case = Case(side, classes=classes, batch=batch, **common)
                    if side == "reference":
                        case = dataclasses.replace(case, compiled=False)
                    print(f"{side}, {classes} names, batch {batch} ...", file=sys.stderr)
                    figures = measured_apart(case, python[side])
                    rows.append({"side": side, "classes": classes, "batch": batch, **figures})
                Path(common["outputs"]).unlink(missing_ok=True)
        peaks.append(measured_apart(peak_case)["gflops"])
    return {
        "machine": _machine(args),
        "matmul_gflops": max(peaks),
        "settings": {k: v for k, v in common.items() if k not in ("weights", "outputs")},
        "rows": rows,
        "ratios": ratios(rows),
        "growth": growths(rows),
    }


def _common(args: argparse.Namespace, folder: Path) -> dict:
    """What all cases share."""
    fields = ("image_size", "photo", "answer", "device", "dtype", "threads", "warmup", "repeats")
    return {name: getattr(args, name) for name in fields} | {
        "compiled": args.compile,
        "rejection": args.rejection,
        "survivors": args.survivors,
        "detail": args.detail,
        "config_file": args.config_file or CONFIGS[args.dea],
        "opts": args.opts,
        "reference": str(Path(args.reference).resolve()) if args.reference else "",
        # With DEA our model is another one: time and memory can be compared, answers cannot.
        "weights": str(folder / "weights.pt") if args.reference and not args.dea else "",
    }


def _machine(args: argparse.Namespace) -> dict:
    import torch

    models = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.partition(":")[2].strip() for line in models if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if args.device != "cpu" else None
    return {
        "cpu": names[0] if names else platform.processor(),
        "threads": args.threads,
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--classes", type=int, nargs="+", default=CLASSES, metavar="N")
    add("--batch", type=int, nargs="+", default=[1], metavar="B", help="images at once, such as 4")
    add("--image-size", type=int, default=768, help="side at which the networks work; from 192")
    add("--photo", type=int, nargs=2, metavar=("H", "W"), help="size of image and answer, if other")
    add("--answer", choices=("probabilities", "labels"), default="probabilities")
    add("--device", default="cpu")
    add("--dtype", choices=("fp32", "bf16"), default="fp32", help="bf16: autocast")
    add("--compile", action="store_true", help="torch.compile on our encoders; no figures by part")
    add("--threads", type=int, default=os.cpu_count())
    add("--warmup", type=int, default=1, help="forwards before, at least 1")
    add("--repeats", type=int, default=3, help="forwards that count")
    add("--rejection", type=int, default=0, metavar="K", help="category early rejection")
    add("--survivors", type=int, nargs=3, default=(), metavar="N", help="alive after each stage")
    add("--dea", action="store_true", help="with SAM and DEA")
    add("--detail", action="store_true", help="the steps of the reference's stages, too")
    add("--config-file", default="", metavar="FILE", help="instead of the ConvNeXt-B ones")
    add("--reference", metavar="DIR", help="checkout of github.com/xb534/SED")
    add("--reference-python", default=sys.executable, metavar="FILE", help="its interpreter")
    add("--json", type=Path, metavar="FILE", help="file for the figures")
    add("--markdown", type=Path, metavar="FILE", help="file for the tables")
    add("--plot", type=Path, metavar="FILE", help="picture of time and memory over N")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="of our config")
    args = parser.parse_args(argv)
    if min(args.warmup, args.repeats, *args.classes, *args.batch) < 1:
        parser.error("--warmup, --repeats, --classes, --batch: expected at least 1.")
    return args


def main(argv: Sequence[str] | None = None) -> dict:
    """Measure, print the tables and write what is asked for."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    report = {"command": ["python", "-m", "benchmarks.inference", *argv], **run(args)}
    text = tables(report)
    print(text)
    write_report(args.json, report)
    write_text(args.markdown, text)
    if args.plot:
        from benchmarks.inference_plot import plot  # Matplotlib is slow to import

        plot(report, args.plot)
    return report


if __name__ == "__main__":
    main()
