"""What `Predictor.set_image` saves: several vocabularies on one picture, seen anew or once.

Each vocabulary is asked twice in turn: `predictor(image, words)`, which sees the picture anew, and
`predictor.predict(words)`, which only scores. The seconds are this process's CPU time, the median
over the vocabularies; text embeddings are made before and kept. Weights and names are random unless
--weights is given; time does not depend on them. Both answers must be equal, to the last bit.

Example:
    OMP_NUM_THREADS=1 python -m benchmarks.other_words --names 5 20 150 --json output/words.json
"""

import argparse
import statistics
import sys
from pathlib import Path

from benchmarks.report_file import markdown_table, origin, write_report

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = [ROOT / "configs" / "stseg" / f"{name}_convnextB_768.yaml" for name in ("sed", "stseg")]


def measure(config: Path, names: int, vocabularies: int, opts: list[str]) -> dict[str, float]:
    """CPU seconds of a picture of 480 x 640 pixels."""
    import time

    import numpy as np
    import torch

    from stseg import Predictor
    from stseg.config import setup_cfg

    given = ["MODEL.CLIP.PRETRAINED", "random", "MODEL.SAM.CHECKPOINT", "random"]
    given += ["MODEL.WEIGHTS", "random", "MODEL.TEXT.CACHE_DIR", ""]
    torch.manual_seed(0)
    predictor = Predictor(setup_cfg(config, [*given, *opts]))
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    words = [[f"thing {k} {i}" for i in range(names)] for k in range(vocabularies)]
    predictor.set_image(image)
    for asked in words:
        predictor.predict(asked)
    fresh, scored, start = [], [], time.process_time()
    predictor.set_image(image)
    seen = time.process_time() - start
    for asked in words:
        start = time.process_time()
        one = predictor(image, asked)
        middle = time.process_time()
        two = predictor.predict(asked)
        fresh.append(middle - start)
        scored.append(time.process_time() - middle)
        if not (one.label_map == two.label_map).all() or (one.confidence != two.confidence).any():
            raise RuntimeError("expected the same answer from both sides, got another.")
    return {
        "fresh": statistics.median(fresh),
        "set_image": seen,
        "predict": statistics.median(scored),
    }


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, nargs="+", default=CONFIGS)
    parser.add_argument("--names", type=int, nargs="+", default=[5, 20, 150])
    parser.add_argument("--vocabularies", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--opts", nargs="*", default=[], help="keys and values of the config")
    args = parser.parse_args(argv)
    rows = [
        {
            "config": config.stem,
            "names": names,
            **measure(config, names, args.vocabularies, args.opts),
        }
        for config in args.config_file
        for names in args.names
    ]
    heads = ["config", "names", "seen anew", "set_image", "predict", "ratio"]
    lines = [
        [row["config"], str(row["names"])]
        + [f"{row[key]:.2f}" for key in ("fresh", "set_image", "predict")]
        + [f"{row['fresh'] / row['predict']:.2f}x"]
        for row in rows
    ]
    print(markdown_table(heads, lines))
    report = {**origin("benchmarks.other_words", argv), "rows": rows}
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
