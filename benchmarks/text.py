"""What a vocabulary costs the text tower: cold, from memory, from disk, and the plain way.

A tower of real size with random weights embeds ADE20K's 847 classes with all their names (1281) or
an even sample of the names, under 80 templates. Every line but "from memory" is measured in a
process of its own:

    cold                  nothing is known, everything made is kept on disk
    from memory           the same again, as for every image after the first
    from disk             a new process, with the files of the first
    one class at a time   77 tokens per prompt and 80 prompts per pass, as SED does; on a few names

"CPU ms" is the work of all cores for a name, which other programs on the machine disturb less.
"Added" is the peak of resident memory above that before, which holds the tower. Operations are
counted on the first names in the alphabet and scaled; "of peak" is the share of what products of
two 2048 x 2048 matrices reach on the same threads in the same process.

Example:
    python -m benchmarks.text --threads 2 --json output/text.json
    python -m benchmarks.text --names 20 --threads 1
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report_file import write_report

ALL_NAMES = 1281
CASES = ("cold", "from disk", "one class at a time")


def measured_apart(case: str, args: argparse.Namespace, folder: str) -> list[dict]:
    """`measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.text", "--case", case, "--folder", folder]
    for flag in ("names", "plain_names", "threads", "model", "device", "dtype"):
        if getattr(args, flag) is not None:
            command += [f"--{flag.replace('_', '-')}", str(getattr(args, flag))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def show(report: dict) -> None:
    """Print the table in Markdown, and what follows from it."""
    from tabulate import tabulate

    headers = ["", "names", "seconds", "ms per name", "CPU ms", "GFLOP/s", "of peak", "added, MiB"]
    cells = []
    for row in report["rows"]:
        speed = f"{row['gflops']:.0f}" if "gflops" in row else ""
        share = f"{100 * row['gflops'] / row['peak_gflops']:.0f} %" if speed else ""
        per_name = [f"{1e3 * row[k] / row['names']:.3g}" for k in ("seconds", "cpu_seconds")]
        cells.append(
            [row["case"], row["names"], f"{row['seconds']:.3g}", *per_name, speed, share]
            + [f"{row['added_mib']:.0f}"]
        )
    print(f"\n{report['model']}, {report['threads']} threads on {report['device']}\n")
    print(tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True))
    print(
        f"\nA name takes the plain way {report['speedup']:.1f} times as long as cold "
        f"({report['cpu_speedup']:.1f} times the work of cores); {ALL_NAMES} names take "
        f"{report['minutes_for_all']:.1f} minutes cold at this rate."
    )


def main(argv: Sequence[str] | None = None) -> dict | list[dict]:
    """Measure, print the table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--names", type=int, metavar="N", help=f"an even sample; default: all {ALL_NAMES}")
    add("--plain-names", type=int, default=3, metavar="N", help="for the plain way, default 3")
    add("--threads", type=int, default=os.cpu_count(), metavar="N", help="default: all cores")
    add("--model", default="convnext_base_w_320", metavar="NAME", help="open_clip architecture")
    add("--device", default="cpu")
    add("--dtype", default="fp32", choices=("fp32", "bf16", "fp16"))
    add("--json", type=Path, metavar="FILE", help="file for the figures")
    add("--case", choices=CASES, help=argparse.SUPPRESS)
    add("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    import torch

    from benchmarks.text_tower import measure

    if args.case:
        rows = measure(args.case, args, args.folder)
        print(json.dumps(rows))
        return rows
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for case in CASES for row in measured_apart(case, args, folder)]
    wall, cpu = (
        {row["case"]: row[unit] / row["names"] for row in rows}
        for unit in ("seconds", "cpu_seconds")
    )
    report = {
        "command": ["python", "-m", "benchmarks.text", *argv],
        "model": args.model,
        "device": args.device,
        "dtype": args.dtype,
        "threads": args.threads,
        "torch": torch.__version__,
        "rows": rows,
        "speedup": wall["one class at a time"] / wall["cold"],
        "cpu_speedup": cpu["one class at a time"] / cpu["cold"],
        "minutes_for_all": wall["cold"] * ALL_NAMES / 60,
    }
    show(report)
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
