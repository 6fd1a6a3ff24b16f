"""`SemSegEvaluator` of this project beside Detectron2's: speed and memory, as ratios.

Both evaluate the same synthetic maps of 512 x 683 pixels with about 20 regions, labels from PNG
files, and must agree about mIoU. Every line is measured in a process of its own:

    detectron2            as it comes: with boundary IoU below 255 classes, and predictions as RLE
    detectron2, plain     the same without boundary IoU
    stseg                 as it comes: confusion matrix, figures per image
    stseg, boundary       with boundary IoU, for any number of classes
    stseg, confidence     with calibration error and risk against coverage

Answers are given as class ids: taking the argmax of scores costs both sides the same. Seconds are
those of `process` and `evaluate`; beside the wall clock stands CPU time, which other programs on
the machine disturb less. "Added" is the peak memory above that of the process before its first
image; "growth" is what a further image leaves behind, measured over the second half.

Example:
    python -m benchmarks.evaluators --images 200 --json output/evaluators.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report_file import write_report

SIZE = (512, 683)
CLASSES = (20, 150, 847)
SIDES = (
    "detectron2",
    "detectron2, plain",
    "stseg",
    "stseg, boundary",
    "stseg, confidence",
)
# What the ratios compare, ours first.
PAIRS = (
    ("stseg", "detectron2"),
    ("stseg", "detectron2, plain"),
    ("stseg, boundary", "detectron2"),
)
FILES = 16


def regions(classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Label and prediction (H, W) int64: 20 regions with wavy borders, a fifth of them mistaken."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / SIZE[0]
    ids = rng.integers(0, classes, (4, 5))
    wrong = np.where(rng.random(ids.shape) < 0.2, rng.integers(0, classes, ids.shape), ids)
    phase = rng.random(4) * 6
    maps = []
    for table, shift in ((ids, 0.0), (wrong, 0.01)):
        row = (y + 0.04 * np.sin(9 * x + phase[0]) + 0.02 * np.sin(31 * x + phase[1]) + shift) * 4
        column = (x + 0.04 * np.sin(9 * y + phase[2]) + 0.02 * np.sin(31 * y + phase[3])) * 3.75
        maps.append(table[row.astype(int).clip(0, 3), column.astype(int).clip(0, 4)])
    return maps[0], maps[1]


class Answer:
    """Class ids that Detectron2 takes for scores."""

    def __init__(self, ids):
        self.ids = ids

    def argmax(self, dim: int):
        """The ids."""
        return self.ids


def make_evaluator(side: str):
    """The evaluator of a side; imports what it needs and no more."""
    if side.startswith("detectron2"):
        from detectron2.evaluation import SemSegEvaluator
        from PIL import Image

        def load(path, dtype):
            return np.array(Image.open(path)).astype(dtype)  # its own loader fails with NumPy 2

        evaluator = SemSegEvaluator("benchmark", sem_seg_loading_fn=load)
        if side.endswith("plain"):
            evaluator._compute_boundary_iou = False
        return evaluator
    from stseg.evaluation import SemSegEvaluator

    return SemSegEvaluator("benchmark", boundary=side.endswith("boundary"))


def memory_mib(field: str) -> float:
    """VmHWM (peak) or VmRSS (now) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status: expected {field}, got none. This runs on Linux only.")


def measure(side: str, classes: int, images: int, folder: Path) -> dict[str, float]:
    """Figures of one side in this process."""
    import torch
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from PIL import Image

    torch.set_num_threads(1)
    records = [
        {"file_name": f"{i}.jpg", "sem_seg_file_name": str(folder / f"{i % FILES}.png")}
        for i in range(images)
    ]
    DatasetCatalog.register("benchmark", lambda: records)
    MetadataCatalog.get("benchmark").set(
        stuff_classes=[f"class {i}" for i in range(classes)],
        ignore_label=65535 if classes > 255 else 255,
    )
    evaluator = make_evaluator(side)
    evaluator.reset()
    answers = []
    for i in range(min(images, FILES)):
        label, prediction = regions(classes, i)
        label[:8] = 65535 if classes > 255 else 255
        Image.fromarray(label.astype(np.uint16 if classes > 255 else np.uint8)).save(
            folder / f"{i}.png"
        )
        answers.append(torch.from_numpy(prediction))
    confidence = torch.rand(SIZE) if side.endswith("confidence") else None
    before, half = memory_mib("VmHWM"), memory_mib("VmRSS")
    start, cpu = time.perf_counter(), time.process_time()
    for i, record in enumerate(records):
        ids = answers[i % FILES]
        output = {"sem_seg": Answer(ids) if side.startswith("detectron2") else ids}
        if confidence is not None:
            output["confidence"] = confidence
        evaluator.process([record], [output])
        if i + 1 == images // 2:
            half = memory_mib("VmRSS")
    growth = (memory_mib("VmRSS") - half) * 1024 / max(1, images - images // 2)
    figures = evaluator.evaluate()["sem_seg"]
    return {
        "seconds": (time.perf_counter() - start) / images,
        "cpu_seconds": (time.process_time() - cpu) / images,
        "peak_mib": memory_mib("VmHWM"),
        "added_mib": memory_mib("VmHWM") - before,
        "growth_kib": growth,
        "mIoU": float(figures["mIoU"]),
    }


def measured_apart(side: str, classes: int, images: int) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.evaluators", "--images", str(images)]
    command += ["--classes", str(classes), "--side", side]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{side}, {classes} classes: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def show(report: dict) -> None:
    """Print the tables."""
    print(
        f"\n{'classes':>7s}  {'':20s}{'images/s':>10s}{'by CPU':>10s}{'peak MiB':>10s}"
        f"{'added':>8s}{'growth, KiB/image':>20s}"
    )
    for row in report["rows"]:
        print(
            f"{row['classes']:7d}  {row['side']:20s}{1 / row['seconds']:10.1f}"
            f"{1 / row['cpu_seconds']:10.1f}{row['peak_mib']:10.0f}{row['added_mib']:8.0f}"
            f"{row['growth_kib']:20.1f}"
        )
    print(f"\n{'classes':>7s}  {'speed of one over the other':42s}{'wall':>8s}{'CPU':>8s}")
    for row in report["ratios"]:
        name = f"{row['ours']} / {row['theirs']}"
        print(f"{row['classes']:7d}  {name:42s}{row['wall']:7.1f}x{row['cpu']:7.1f}x")


def ratios(rows: list[dict]) -> list[dict]:
    """Speed of ours over theirs, by number of classes."""
    found = {(row["classes"], row["side"]): row for row in rows}
    result = []
    for classes in dict.fromkeys(row["classes"] for row in rows):
        for ours, theirs in PAIRS:
            a, b = found[classes, ours], found[classes, theirs]
            wall, cpu = (b[key] / a[key] for key in ("seconds", "cpu_seconds"))
            entry = {"classes": classes, "ours": ours, "theirs": theirs, "wall": wall, "cpu": cpu}
            result.append(entry)
    return result


def main(argv: list[str] | None = None) -> dict:
    """Measure, print tables and write them as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200, help="images per line")
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES, metavar="N")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.side:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(args.side, args.classes[0], args.images, Path(folder))
        print(json.dumps(figures))
        return figures
    rows = []
    for classes in args.classes:
        for side in SIDES:
            figures = measured_apart(side, classes, args.images)
            rows.append({"classes": classes, "side": side, **figures})
        agreed = [row["mIoU"] for row in rows if row["classes"] == classes]
        if max(agreed) - min(agreed) > 1e-9:
            raise RuntimeError(f"{classes} classes: expected one mIoU, got {agreed}.")
    report = {
        "command": ["python", "-m", "benchmarks.evaluators", *argv],
        "cores": os.cpu_count(),
        "numpy": np.__version__,
        "images": args.images,
        "size": SIZE,
        "rows": rows,
        "ratios": ratios(rows),
    }
    show(report)
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
