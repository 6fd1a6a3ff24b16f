"""Time and memory from a network's scores to labels, with all classes at full size or streamed.

    plain        probabilities of all classes at full size, then their maximum, as `model(inputs)`
                 and an argmax do
    streamed     `LabelMap.read`
    streamed_k3  the same, the three best classes per pixel

Scores are 192 x 192 cells, those of a network that works at 768 pixels: `smooth` ones with regions
of about 48 cells, or `rough` ones of about 12, where many classes are near each other. Each line
runs in its own process; memory is the peak above the scores themselves. Plain is left out where
its probabilities alone are above 4 GiB.

Example:
    python -m benchmarks.labels --json output/labels.json
    OMP_NUM_THREADS=1 python -m benchmarks.labels --repeats 1
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.evaluators import memory_mib
from benchmarks.report_file import write_report

SIDES = ("plain", "streamed", "streamed_k3")
CASES = ((150, 768, 1024), (847, 2000, 3000))
REGIONS = {"smooth": 48, "rough": 12}
CELLS = 192
MOST_PLAIN_BYTES = 4 << 30


def measure(side: str, case: tuple[int, int, int], scene: str, repeats: int) -> dict[str, float]:
    """Figures of one line in this process; the fastest of the repeats counts."""
    import torch
    from torch.nn.functional import interpolate

    from stseg.modeling.scores import CellScores, LabelMap, resize

    classes, *size = case
    torch.manual_seed(0)
    logits = torch.empty(classes, CELLS, CELLS)
    for row in logits:  # one by one: making them must not be the peak
        coarse = 3 * torch.randn(1, 1, CELLS // REGIONS[scene], CELLS // REGIONS[scene]) - 4
        row.copy_(interpolate(coarse, row.shape, mode="bicubic")[0, 0])
        row += 0.2 * torch.randn(CELLS, CELLS)

    def run() -> LabelMap:
        if side == "plain":
            return LabelMap.of(resize(logits.sigmoid()[None], size)[0])
        return LabelMap.read(CellScores(logits).at(size), 3 if side == "streamed_k3" else 1)

    LabelMap.read(CellScores(logits[:2]).at((16, 16)))  # libraries are loaded
    before, seconds, cpu_seconds = memory_mib("VmRSS"), [], []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        found = run()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu)
    return {
        "seconds": min(seconds),
        "cpu_seconds": min(cpu_seconds),
        "added_mib": memory_mib("VmHWM") - before,
        "label_sum": int(found.labels.sum()),
        "confidence_sum": float(found.confidence.double().sum()),
    }


def measured_apart(
    side: str, case: tuple[int, int, int], scene: str, repeats: int
) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.labels", "--repeats", str(repeats)]
    command += ["--line", json.dumps([side, case, scene])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{side}, {case}, {scene}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def check_equal(rows: list[dict]) -> None:
    """Refuse to compare unlike work: confidences must agree."""
    sums = [row["confidence_sum"] for row in rows]
    if max(sums) - min(sums) > 1e-6 * max(map(abs, sums)):
        raise RuntimeError(f"expected the same confidences from all sides, got sums {sums}.")


def show(rows: list[dict]) -> None:
    """Print the table."""
    print(f"{'classes':>7s} {'size':>11s} {'scene':8s}{'side':12s}{'wall s':>8s}", end="")
    print(f"{'CPU s':>8s}{'peak MiB':>10s}")
    for row in rows:
        size = "x".join(map(str, row["size"]))
        print(f"{row['classes']:7d} {size:>11s} {row['scene']:8s}{row['side']:12s}", end="")
        print(f"{row['seconds']:8.3f}{row['cpu_seconds']:8.3f}{row['added_mib']:10.0f}")


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs per line, the fastest counts")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--line", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.line:
        figures = measure(*args.line, args.repeats)
        print(json.dumps(figures))
        return figures
    rows = []
    for case in CASES:
        for scene in REGIONS:
            lines = []
            for side in SIDES:
                if side == "plain" and 4 * case[0] * case[1] * case[2] > MOST_PLAIN_BYTES:
                    continue
                figures = measured_apart(side, case, scene, args.repeats)
                place = {"classes": case[0], "size": list(case[1:]), "scene": scene, "side": side}
                lines.append({**place, **figures})
            check_equal(lines)
            rows += lines
    report = {
        "command": ["python", "-m", "benchmarks.labels", *argv],
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "cells": CELLS,
        "rows": rows,
    }
    show(rows)
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
