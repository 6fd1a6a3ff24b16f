"""What `stseg predict --steady` does to flicker, on a moving small world.

A camera passes over a large scene, with other noise in every frame. Pixels flicker that leave their
label for one frame; things that move drag their labels behind them, which the accuracy tells.

Example:
    OMP_NUM_THREADS=1 python -m benchmarks.video_flicker --frames 12 --json output/flicker.json
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.report_file import markdown_table, origin, write_report


def frames_of(args: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures (128, 128, 3) uint8 and labels (128, 128) of a camera that moves to the right."""
    from stseg.small_world import SPLIT_SEEDS, render

    scenes = [render(SPLIT_SEEDS["val"], i) for i in range(2 + args.frames * args.speed // 128)]
    image = np.concatenate([scene.image for scene in scenes], axis=1)
    labels = np.concatenate([scene.label_map for scene in scenes], axis=1)
    rng, found = np.random.default_rng(0), []
    for number in range(args.frames):
        place = (slice(None), slice(number * args.speed, number * args.speed + 128))
        noisy = image[place] + rng.normal(0, args.noise, (128, 128, 3))
        found.append((noisy.round().clip(0, 255).astype(np.uint8), labels[place].astype(int)))
    return found


def measure(args: argparse.Namespace) -> list[dict]:
    """Flicker and accuracy for each strength; 0 is without."""
    from stseg import Predictor, Vocabulary
    from stseg.tools.prediction import SteadyLabels, flicker_share

    predictor, vocabulary = Predictor("stseg_mini", device="cpu"), Vocabulary.parse(args.names)
    frames = frames_of(args)
    answers = [predictor(image, vocabulary) for image, _ in frames]
    truth = np.stack([labels for _, labels in frames])
    rows = []
    for hold in (0.0, *args.hold):
        steady = SteadyLabels(hold)
        labels = np.stack([steady.next(answer).label_map for answer in answers])
        rows.append(
            {
                "hold": hold,
                "flicker": round(flicker_share(labels), 4),
                "changes": round(float(np.mean(labels[1:] != labels[:-1])), 4),
                "accuracy": round(float(np.mean(labels == truth)), 4),
            }
        )
    return rows


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--speed", type=int, default=1, help="pixels from frame to frame")
    parser.add_argument("--noise", type=float, default=12.0, help="deviation, of 255")
    parser.add_argument("--hold", type=float, nargs="*", default=[0.5, 0.7, 0.8, 0.9])
    parser.add_argument("--names", default="vocab:small_world")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args(argv)
    rows = measure(args)
    print("\n" + markdown_table(list(rows[0]), [list(row.values()) for row in rows]))
    report = {**origin("benchmarks.video_flicker", argv), "rows": rows}
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
