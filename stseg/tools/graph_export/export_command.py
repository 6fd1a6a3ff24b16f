"""Write a trained network as graphs, for programs without this package.

encode takes a picture and gives features; logits takes these and words and gives scores, for any
words. --words and --vocabulary write words as a file, so that who asks needs no torch: see
demo/onnx_labels.py. Both may be asked for at once, or one after the other with the same weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stseg.structures import Vocabulary
from stseg.tools.graph_export.graph_formats import FORMATS, check_installed
from stseg.utils import require_detectron2, say

if TYPE_CHECKING:
    from stseg.predictor import Predictor

_EXAMPLES = """\
examples:
  stseg export --format onnx --config stseg_mini --words "star; kite; sky" --output graphs
  python demo/onnx_labels.py graphs scene.png labels.png
  other words, and nothing else:
    stseg export --config stseg_mini --vocabulary names.txt --output graphs
  a network of one's own, for pictures of one size:
    stseg export --format onnx --weights output/run/model_final.pth --size 480 640 --output graphs
  for PyTorch, at another working size:
    stseg export --format torch.export --config stseg_mini --output graphs \\
        MODEL.STSEG.IMAGE_SIZE_TEST "(160, 160)"

writes encode.onnx and logits.onnx (or .pt2), and words.npz. exit code: 0 = done, 1 = something is
missing or cannot be done, 2 = wrong use."""


def graph_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        "stseg export",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--format", choices=FORMATS, help="of the graphs; none are written without")
    add("--config", "--config-file", dest="config", default="", metavar="CONFIG", help="YAML file,"
        " or name of one that ships; default: that of the weights")  # fmt: skip
    add("--weights", default="", metavar="FILE", help="file, or a name of `stseg weights list`;"
        " default: those of the config")  # fmt: skip
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the files")
    add("--size", nargs=2, type=int, metavar=("H", "W"), help="of the only pictures"
        " that are taken; default: any, resized to the config's working size")  # fmt: skip
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--words", metavar="NAMES", help='such as "cat, kitten; dog"')
    words.add_argument("--vocabulary", metavar="FILE", help=".txt or .json, or a list that ships")
    add("opts", nargs="*", metavar="KEY VALUE", help="config keys to change")
    return parser


def graph_command(argv: Sequence[str] | None = None) -> int:
    """Command line, see `--help`.

    Args:
        argv: those of the process by default.

    Returns:
        0. Wrong use leaves through `SystemExit(2)`.

    Raises:
        ValueError: for words, weights or a config that cannot be used, or a system that has no such
            graphs; says why.
        OSError: for a file that is missing.
    """
    parser = graph_parser()
    args = parser.parse_intermixed_args(argv)
    asked = args.words or args.vocabulary
    if not (args.format or asked):
        parser.error("expected --format, --words or --vocabulary, got none of them.")
    if args.size and min(args.size) < 2:
        parser.error(f"--size: expected 2 pixels or more, got {args.size[0]} {args.size[1]}.")
    try:
        if args.format:
            check_installed(args.format)
        vocabulary = Vocabulary.parse(asked) if asked else None
        require_detectron2("stseg export")
        predictor = _predictor(args)
    except (ImportError, KeyError) as error:
        parser.exit(1, f"stseg export: {error.args[0]}\n")
    if args.format:
        from stseg.tools.graph_export.graph_files import write_graphs

        size = tuple(args.size) if args.size else None
        for path in write_graphs(predictor.model, predictor.cfg, args.output, args.format, size):
            say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    if vocabulary is not None:
        from stseg.tools.graph_export.words_file import write_words

        for note in predictor.notes(vocabulary):
            say(f"note: {note}")
        args.output.mkdir(parents=True, exist_ok=True)
        write_words(predictor.model, vocabulary, args.output / "words.npz")
        say(f"{args.output / 'words.npz'}: {len(vocabulary)} classes")
    return 0


def _predictor(args: argparse.Namespace) -> Predictor:
    """The model on the CPU in float32, whatever its config says."""
    from stseg.config import setup_cfg
    from stseg.predictor import Predictor
    from stseg.tools.prediction import choose

    choice = choose(args.config, args.weights)
    cfg = setup_cfg(choice.config, [*args.opts, "MODEL.DTYPE", "fp32"], device="cpu")
    return Predictor(cfg, weights=choice.weights)
