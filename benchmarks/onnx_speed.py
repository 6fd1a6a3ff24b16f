"""ONNX graphs beside PyTorch: CPU seconds of a picture and of words, in one run.

Both sides are asked in turn, with the same number of threads; the seconds are this process's CPU
time, the median over the rounds, so that other work on the machine counts little. Weights are those
of the config, or random where --weights says so; time does not depend on them. Answers that differ
by more than 1e-3 end the run.

Example:
    python -m benchmarks.onnx_speed --config stseg_mini --names 20 150 --json output/onnx.json
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.report_file import markdown_table, origin, write_report


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row of CPU seconds for the picture, and one for every number of names."""
    import numpy as np
    import torch
    from onnxruntime import InferenceSession, SessionOptions

    from stseg import Predictor
    from stseg.config import setup_cfg
    from stseg.structures import Vocabulary
    from stseg.tools.graph_export import write_graphs, write_words

    torch.set_num_threads(args.threads)
    options = SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    cfg = setup_cfg(args.config, [*args.opts, "MODEL.DTYPE", "fp32"], device="cpu")
    predictor = Predictor(cfg, weights=args.weights)
    model, size = predictor.model, tuple(args.size) if args.size else None
    with TemporaryDirectory() as folder, torch.inference_mode():
        files = write_graphs(model, predictor.cfg, Path(folder), "onnx", size)
        encode, logits = (InferenceSession(file, options) for file in files)
        pixels = np.random.default_rng(0).integers(0, 256, (3, *(size or args.picture)))
        image = torch.from_numpy(pixels.astype(np.float32))
        seen = model.encode([image]).tensors
        ours = dict(zip(seen, encode.run(list(seen), {"image": image.numpy()}), strict=True))
        pair = _in_turn(
            args.rounds,
            lambda: model.encode([image]),
            lambda: encode.run(None, {"image": image.numpy()}),
        )
        rows = [{"part": "encode", "names": 0, **pair}]
        for count in args.names:
            words = Vocabulary.parse([f"thing {i}" for i in range(count)])
            write_words(model, words, Path(folder) / "words.npz")
            asked = ours | dict(np.load(Path(folder) / "words.npz"))
            given = {x.name: asked[x.name] for x in logits.get_inputs()}
            embeds, marks = model.embed(words), model.seen_marks(words)
            theirs = model.logits(seen, embeds, marks)
            apart = max(
                float(np.abs(x - y.numpy()).max())
                for x, y in zip(logits.run(None, given), theirs, strict=False)
            )
            if apart > 1e-3:
                raise RuntimeError(f"expected the same answer from both sides, got {apart} apart.")
            pair = _in_turn(
                args.rounds,
                lambda embeds=embeds, marks=marks: model.logits(seen, embeds, marks),
                lambda given=given: logits.run(None, given),
            )
            rows.append({"part": "logits", "names": count, "apart": apart, **pair})
    return rows


def _in_turn(
    rounds: int, torch_side: Callable[[], Any], onnx_side: Callable[[], Any]
) -> dict[str, float]:
    """Median CPU seconds of both, after one warm-up each."""
    found: dict[str, list[float]] = {"torch": [], "onnx": []}
    for _ in range(rounds + 1):
        for name, call in (("torch", torch_side), ("onnx", onnx_side)):
            start = time.process_time()
            call()
            found[name].append(time.process_time() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in found.items()}


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config", default="stseg_mini", help="(%(default)s)")
    add("--weights", help='instead of those of the config; "random" for start values')
    add("--names", type=int, nargs="+", default=[20, 150, 847])
    add("--picture", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="for CEL and EBSeg, see stseg export")
    add("--rounds", type=int, default=5)
    add("--threads", type=int, default=1, help="of either side; default: %(default)s")
    add("--json", type=Path, help="file for the figures")
    add("--opts", nargs="*", default=[], help="keys and values of the config")
    args = parser.parse_args(argv)
    rows = measure(args)
    lines = [
        [row["part"], str(row["names"] or "-"), f"{row['torch']:.4f}", f"{row['onnx']:.4f}"]
        + [f"{row['torch'] / max(row['onnx'], 1e-9):.2f}x"]
        for row in rows
    ]
    print(f"{args.config}, CPU seconds, {args.threads} thread(s) on either side\n")
    print(markdown_table(["part", "names", "PyTorch", "ONNX", "ratio"], lines))
    report = {**origin("benchmarks.onnx_speed", argv), "config": args.config, "rows": rows}
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
