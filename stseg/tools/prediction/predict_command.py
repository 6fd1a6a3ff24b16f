"""Segment images, folders and videos with any words.

IMAGES are files, folders (with those below), patterns and videos; NAMES are the last word: classes
parted by semicolons, synonyms by commas, a .txt or .json file, or a list that ships.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stseg.data import is_video
from stseg.exports import LabelledImage, write_export
from stseg.structures import Segmentation
from stseg.tools.prediction.asked import KINDS, Asked, read_request
from stseg.tools.prediction.segment_files import (
    LOW_CONFIDENCE,
    Item,
    Outcome,
    Wanted,
    segment_files,
)
from stseg.tools.prediction.shares import (
    check_request,
    is_done,
    request_of,
    run_shares,
    share_of,
    write_request,
)
from stseg.tools.prediction.tiling import AUTO_PIXELS, SIDE
from stseg.tools.prediction.weights_choice import DEFAULT, Choice, choose
from stseg.utils import say

if TYPE_CHECKING:
    from stseg.predictor import Predictor

_EXAMPLES = """\
examples:
  a photo, two classes, one of them with a synonym:
    PROGRAM photo.jpg "cat, kitten; grass"
  a folder and a pattern, names from a file, pixels of low confidence left unknown:
    PROGRAM photos/ "more/*.png" names.txt --background threshold=0.3 --output results
  words that compete but are not wanted:
    PROGRAM street.jpg "car; person" --background "distractors=road; sky; building"
  labels for a labelling program, and nothing else to look at:
    PROGRAM photos/ names.txt --save coco,cvat
  many images: two GPUs, eight at a time, going on where it was stopped
    PROGRAM photos/ names.txt --processes 2 --batch 8 --resume
  the images and names of a data set, here a folder of labelme files:
    PROGRAM --data mine=labelme:photos
  weights of one's own; the miniature, which knows drawn scenes only:
    PROGRAM drive.mp4 "road; car" --weights output/run/model_final.pth
    PROGRAM scene.png "star; kite; grass; sky" --config stseg_mini
  an aerial picture in tiles; near infrared, red and green of a satellite's in place of colours:
    PROGRAM field.tif "road; tree; roof" --tile 1024 --overlap 256
    PROGRAM scene.tif "water; forest; crop" --bands 8,4,3 --values 0:4000

every image gives <stem>.png (class ids, with a palette), <stem>.json and <stem>_overlay.jpg in the
output folder, a video also <stem>_overlay.mp4; a TIFF with coordinates gives <stem>.tif with them.
Exports lie in folders of their own there.
exit code: 0 = all done, 1 = some files failed (named at the end), 2 = wrong use."""


def prediction_parser(program: str = "stseg predict") -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        program,
        description=__doc__,
        epilog=_EXAMPLES.replace("PROGRAM", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("what", nargs="*", metavar="IMAGES ... NAMES", help="what to segment, and into what")
    add("--input", nargs="+", metavar="PATH", help="more images")
    add("--vocabulary", metavar="NAMES", help="in the place of NAMES")
    add("--data", metavar="NAME=FORMAT:PATH", help="a data set instead of both, see"
        " datasets/README.md; either may still be given")  # fmt: skip
    add("--config-file", "--config", default="", metavar="CONFIG", help="YAML file, or name of one"
        f" that ships; default: that of the weights, or of {DEFAULT}")  # fmt: skip
    add("--weights", default="", metavar="FILE", help="file, or a name of `stseg weights list`;"
        " default: those of the config")  # fmt: skip
    add("--output", default="output/predict", metavar="DIR", type=Path, help="(%(default)s)")
    add("--save", default="labels,json,overlay,video", metavar="KINDS", help="of "
        f"{', '.join(KINDS)}; default: %(default)s")  # fmt: skip
    add("--background", default="none", metavar="POLICY", help="none, threshold=<0..1> or"
        ' "distractors=<names>": pixels that become unknown')  # fmt: skip
    add("--device", help='such as "cpu"; default: the config\'s, if it is there')
    add("--batch", type=int, default=1, metavar="N", help="images at once; default: %(default)s")
    add("--tile", default="auto", metavar="N", help="see large pictures in tiles of N pixels, 0 ="
        f" never; auto = {SIDE} beyond {AUTO_PIXELS // 10**6} megapixels")  # fmt: skip
    add("--overlap", type=int, metavar="N", help="pixels that tiles share; default: an eighth")
    add("--bands", default="", metavar="R,G,B", help="of TIFFs, from 1, seen as red, green, blue")
    add("--values", default="bits", metavar="RULE", help="of TIFFs, seen as black and white: bits"
        " (what a sensor of as few bits gives), percentile (2 and 98), or BLACK:WHITE")  # fmt: skip
    add("--steady", type=float, default=0.0, metavar="H", help="hold labels of a video against"
        " frames that disagree: 0 = not, 0.8 = against 3 in a row")  # fmt: skip
    add("--resume", action="store_true", help="leave out what is done already")
    add("--shard", default="", metavar="K/N", help="the K-th of N shares of the images")
    add("--processes", type=int, default=1, metavar="N", help="N processes, each with its share")
    add("--opts", nargs="*", default=[], metavar="KEY VALUE", help="config keys to change")
    return parser


def prediction_command(argv: Sequence[str] | None = None, program: str = "stseg predict") -> int:
    """Command line, see `--help`.

    Args:
        argv: those of the process by default.
        program: for messages.

    Returns:
        0, or 1 if some files failed. Wrong use leaves through `SystemExit(2)`.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = prediction_parser(program)
    args = parser.parse_intermixed_args(argv)
    try:
        asked = read_request(args)
        share = share_of(asked.items, args.shard)
        choice = choose(args.config_file, args.weights)
        request = request_of(asked, choice, args.opts)
        if args.resume:
            check_request(args.output, request)
        if args.processes > 1:
            code = run_shares(argv, args)
            return max(code, _export(asked))
        todo = [i for i in share if not (args.resume and is_done(i, asked.wanted))]
        predictor = _predictor(args, choice) if todo else None
        if predictor is not None:
            predictor.prepare(asked.vocabulary)
    except (OSError, ValueError, KeyError, ImportError) as error:
        text = error.args[0] if isinstance(error, KeyError) else error
        parser.exit(2, f"{program}: error: {text}\n")
    write_request(args.output, request)
    notes = asked.vocabulary.notes() if predictor is None else predictor.notes(asked.vocabulary)
    for note in notes:
        say(f"note: {note}")
    if len(todo) < len(share):
        say(f"{len(share) - len(todo)} of {len(share)} files are done already")
    outcome = Outcome()
    if predictor is not None:
        outcome = segment_files(predictor, asked.vocabulary, todo, asked.wanted)
    _tell(outcome, len(todo), asked.wanted.output)
    code = _export(asked, [path for path, _ in outcome.failed], shared=bool(args.shard))
    return max(code, int(bool(outcome.failed)))


def _predictor(args: argparse.Namespace, choice: Choice) -> Predictor:
    from stseg.config import setup_cfg
    from stseg.predictor import Predictor

    cfg = setup_cfg(choice.config, args.opts, device=args.device)
    return Predictor(cfg, weights=choice.weights)


def _tell(outcome: Outcome, asked_for: int, output: Path) -> None:
    for path, reason in outcome.failed:
        sys.stderr.write(f"failed: {path}: {reason}\n")
    say(f"{len(outcome.done)} of {asked_for} files done, results in {output}")
    sure = np.mean(outcome.confidences) if outcome.confidences else 1.0
    if sure < LOW_CONFIDENCE:
        say(
            f"note: the model is hardly sure of anything here (mean confidence {sure:.2f}): it may "
            "not know such pictures, or none of these words fits what they show. --background "
            "threshold=0.3 leaves what is below 0.3 unknown."
        )


def _export(asked: Asked, failed: Sequence[Path] = (), *, shared: bool = False) -> int:
    """Write the exports about all results of the job.

    Args:
        asked: the job.
        failed: images whose results, if there are any, are those of an earlier run.
        shared: other processes work on it, too: the one that finds the job done writes them.

    Returns:
        0, or 1 where one cannot be written.
    """
    images = [i for i in asked.items if not is_video(i.path) and i.path not in failed]
    done = [item for item in images if is_done(item, asked.wanted)]
    code = 0
    for kind in asked.exports:
        if shared and len(done) < len(images):
            say(f"{kind}: {len(images) - len(done)} images lack results; the last share writes it")
        elif done:
            try:
                files = write_export(kind, _saved(done, asked.wanted), asked.wanted.output / kind)
            except (OSError, ValueError) as error:
                sys.stderr.write(f"failed: {kind}: {error}\n")
                code = 1
            else:
                say(f"{kind}: {files[0]}" + (f" and {len(files) - 1} more" if files[1:] else ""))
    return code


def _saved(items: Sequence[Item], wanted: Wanted) -> Iterator[LabelledImage]:
    """What lies in the output folder, one by one."""
    for item in items:
        folder, stem = wanted.place(item)
        found = Segmentation.load(folder / f"{stem}.json")
        name = f"{item.stem}{item.path.suffix}"
        yield LabelledImage(name, found.label_map, found.names, str(item.path), item.stem)
