"""Pseudo-labelling beside a plain loop over `SamPredictor`: time, peak memory and masks, as ratios.

Both sides get the same images, initial masks and prompts in one run. Weights are random: neither
time nor agreement depends on them. Each image has 20 accepted classes, a 4 x 5 tiling with
irregular borders. Three lines are printed:

    decoding alone      prompts and embedding given, refined masks wanted
    with the encoder    both sides encode the image themselves
    as in a round       ours takes the embedding that DEA has computed already

Beside the ratio of seconds on the wall stands that of CPU time, which other programs on the machine
disturb less; it means nothing on a GPU. "As in a round" is not the same work on both sides: the
loop encodes the image and ours does not, which is what sharing the embedding saves.

The plain loop calls `set_image` once per image and `predict` once per prompt, and takes the mask of
the best predicted IoU.

Example:
    python -m benchmarks.pseudo_labels --images 1 --repeats 2 --json output/pseudo_labels.json
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.report_file import origin, write_report


def memory(argv: list[str]) -> dict[str, dict[str, float]]:
    """Peak memory of each side, each in a process of its own."""
    found = {}
    for of in ("loop", "ours", "loop+encoder", "ours+encoder"):
        command = [sys.executable, "-m", "benchmarks.pseudo_labels", *argv, "--memory-of", of]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[of] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(report: dict) -> None:
    """Print the tables."""
    print(f"\n{'seconds per image':20s}{'loop':>10s}{'ours':>10s}{'ratio':>8s}{'by CPU time':>13s}")
    for line, row in report["lines"].items():
        print(
            f"{line:20s}{row['loop_s']:10.2f}{row['ours_s']:10.2f}{row['ratio']:7.2f}x"
            f"{row['cpu_ratio']:12.2f}x"
        )
    if report["memory"]:
        print(f"\n{'peak memory, MiB':20s}{'loop':>10s}{'ours':>10s}{'ratio':>8s}")
        for name, suffix in (("decoding alone", ""), ("with the encoder", "+encoder")):
            loop, ours = (report["memory"][side + suffix]["peak_mib"] for side in ("loop", "ours"))
            print(f"{name:20s}{loop:10.0f}{ours:10.0f}{loop / ours:7.2f}x")
    print(
        f"\n{report['masks']} masks, IoU with the loop's: least {report['mask_iou_min']:.5f}, "
        f"mean {report['mask_iou_mean']:.5f}"
    )


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="vit_b", help="SAM's size: vit_b, vit_l or vit_h")
    parser.add_argument("--images", type=int, default=1, help="images per repeat")
    parser.add_argument("--classes", type=int, default=20, help="accepted classes per image")
    parser.add_argument("--repeats", type=int, default=1, help="the best of so many counts")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    import torch

    from benchmarks.pseudo_label_sides import measure, print_memory

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.memory_of:
        print_memory(args)
        return {}
    # Memory first: a child's peak starts at its parent's, which is small before the models exist.
    peaks = {} if args.no_memory else memory(argv)
    report = {
        **origin("benchmarks.pseudo_labels", argv),
        "memory": peaks,
        **measure(args),
    }
    show(report)
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
