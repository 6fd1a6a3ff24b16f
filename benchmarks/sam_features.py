"""What `SELF_TRAINING.SAM_CACHE_DIR` saves: SAM's embeddings computed, and read from a folder.

First SAM's encoder by itself, per image: computed; computed and written, as in the first round;
read, as in later rounds, from the system's memory of files and from the disk (Linux: the files are
dropped from that memory before). Then a whole prediction, as labelling and guard make them. Images,
weights and text embeddings are random; time does not depend on them. What is read must equal what
was computed, to the last bit. Beside seconds on the wall stand those of this process's CPU time,
which other programs on the machine disturb less; they leave out waiting for the disk, and mean
nothing on a GPU.

Example:
    OMP_NUM_THREADS=1 python -m benchmarks.sam_features --images 1 --json output/sam_features.json
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.report_file import markdown_table, origin, write_report

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "stseg" / "stseg_convnextB_768.yaml"


def show(report: dict, names: int) -> None:
    """Print the table."""
    rows = []
    titles = {"encoder_s": "SAM's encoder", "prediction_s": f"prediction, {names} names"}
    for key, title in titles.items():
        for label, seconds in report[key].items():
            rows.append([f"{title}: {label}", f"{seconds['wall']:.2f}", f"{seconds['cpu']:.2f}"])
    print("\n" + markdown_table(["seconds per image", "wall", "CPU"], rows))
    pixels, weights = (report[f"digest_of_{of}_s"]["cpu"] for of in ("pixels", "weights"))
    print(
        f"\n{report['mib_per_image']:.2f} MiB per image. Digest of the pixels {pixels:.3f} s (in "
        f"the figures above), of the weights {weights:.2f} s once per run. "
        f"Read equals computed: {'yes' if report['equal'] else 'NO'}."
    )


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, default=CONFIG)
    parser.add_argument("--names", type=int, default=150)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--image-size", type=int, default=768, help="working size in pixels")
    parser.add_argument("--sam-size", type=int, default=1024, help="MODEL.SAM.INPUT_SIZE")
    parser.add_argument("--repeats", type=int, default=1, help="the best of so many counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", help="on the disk to be measured; a new one below it is used")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("opts", nargs="*", help="keys and values of the config")
    args = parser.parse_args(argv)
    from benchmarks.sam_features_clock import measure

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        figures = measure(args, Path(folder))
    report = {**origin("benchmarks.sam_features", argv), **figures}
    show(report, args.names)
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
