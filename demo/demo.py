#!/usr/bin/env python3
"""Segment images, folders or videos with any vocabulary; see --help."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from stseg.data import (
    find_media,
    is_video,
    open_video,
    read_image,
    unique_stems,
    video_frames,
    video_size,
)
from stseg.render import area_shares, draw_overlay
from stseg.structures import IGNORE_LABEL, Background, Segmentation, Vocabulary

if TYPE_CHECKING:
    from stseg.predictor import Predictor

DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "mini" / "stseg_mini.yaml"

EXAMPLES = """\
examples:
  a photo, two classes, one of them with a synonym:
    python demo/demo.py --input photo.jpg --vocabulary "cat, kitten; grass"
  a folder and a pattern, names from a file, pixels of low confidence left unknown:
    python demo/demo.py --input photos/ "more/*.png" --vocabulary names.txt \\
        --background threshold=0.3 --output results
  words that compete but are not wanted:
    python demo/demo.py --input street.jpg --vocabulary "car; person" \\
        --background "distractors=road; sky; building"
  the images and names of a data set, here a folder of labelme files:
    python demo/demo.py --data mine=labelme:photos
  a video with the full-size model on a GPU:
    python demo/demo.py --config-file configs/stseg/stseg_convnextB_768.yaml \\
        --weights model_final.pth --device cuda --input drive.mp4 --vocabulary "road; car"

every image gives <stem>.png (label ids), <stem>_overlay.jpg and <stem>.json in the output folder;
a video also gives <stem>_overlay.mp4.
exit code: 0 = all done, 1 = some files failed (named at the end), 2 = wrong use."""


def parse_args(argv: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", nargs="+", metavar="PATH", help="files, folders, globs, videos")
    parser.add_argument(
        "--vocabulary",
        metavar="NAMES",
        help='"cat, kitten; dog" (commas: synonyms, semicolons: classes), a .txt or .json file, or '
        "a list that ships: vocab:ade20k_150",
    )
    parser.add_argument(
        "--data",
        metavar="NAME=FORMAT:PATH",
        help="a data set instead of both, see datasets/README.md; either may still be given",
    )
    parser.add_argument("--output", default="output/demo", metavar="DIR", type=Path)
    parser.add_argument(
        "--config-file", default=str(DEFAULT_CONFIG), metavar="YAML", help="default: %(default)s"
    )
    parser.add_argument("--weights", metavar="FILE", help="instead of the config's MODEL.WEIGHTS")
    parser.add_argument("--device", help='such as "cpu"; default: the config\'s, if it is there')
    parser.add_argument(
        "--background",
        default="none",
        metavar="POLICY",
        help='none, threshold=<0..1> or "distractors=<names>": pixels that become unknown',
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE ... of the config; last"
    )
    return parser, parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo.

    Returns:
        0, or 1 if some files failed. Wrong use leaves through `SystemExit(2)`.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    parser, args = parse_args(argv)
    from stseg.config import setup_cfg
    from stseg.predictor import Predictor

    try:
        paths, vocabulary = what_to_segment(args)
        check_output(args.output, paths)
        cfg = setup_cfg(args.config_file, args.opts, device=args.device)
        predictor = Predictor(cfg, weights=args.weights)
    except (OSError, ValueError, KeyError) as error:
        parser.error(str(error.args[0] if isinstance(error, KeyError) else error))
    for note in vocabulary_notes(vocabulary):
        print(f"note: {note}")
    failures = segment_files(predictor, vocabulary, paths, args.output)
    for path, reason in failures:
        print(f"failed: {path}: {reason}", file=sys.stderr)
    print(f"{len(paths) - len(failures)} of {len(paths)} files done, results in {args.output}")
    return 1 if failures else 0


def what_to_segment(args: argparse.Namespace) -> tuple[list[Path], Vocabulary]:
    """Files and names out of --input and --vocabulary, or of the data set that --data describes."""
    for flag, value in (("--input", args.input), ("--vocabulary", args.vocabulary)):
        if value is None and not args.data:
            raise ValueError(f"{flag}: expected it, or --data, got neither.")
    names, inputs = args.vocabulary, args.input
    if args.data:
        from detectron2.data import DatasetCatalog

        from stseg.config import parse_entry, parse_flag
        from stseg.data import dataset_vocabulary, register_data

        entry = parse_entry(parse_flag(args.data), "--data")
        print(register_data(entry))
        records = DatasetCatalog.get(entry.name)
        inputs = inputs or [record["file_name"] for record in records]
        names = dataset_vocabulary(entry.name) if names is None else names
    vocabulary = Vocabulary.parse(names, background=Background.parse(args.background))
    return find_media(inputs), vocabulary


def check_output(output: Path, paths: Sequence[Path]) -> None:
    """Refuse an output folder that holds inputs: `photo.png` would be replaced by its labels."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output: expected a folder, got the file {output}.")
    for path in paths:
        if path.resolve().parent == output.resolve():
            raise ValueError(
                f"--output: expected another folder than that of the inputs, got {output}, where "
                f"{path.name} lies and could be overwritten."
            )


def vocabulary_notes(vocabulary: Vocabulary) -> list[str]:
    """What is legal but most likely not meant."""
    notes = []
    if len(vocabulary) == 1 and len(vocabulary.synonyms[0]) > 2:
        notes.append(
            f"{', '.join(vocabulary.synonyms[0])} are synonyms of ONE class; "
            "part classes with semicolons."
        )
    for synonym, names in vocabulary.shared_synonyms():
        notes.append(f"{synonym!r} stands in several classes: {'; '.join(names)}.")
    return notes


def segment_files(
    predictor: Predictor, vocabulary: Vocabulary, paths: Sequence[Path], output: Path
) -> list[tuple[Path, str]]:
    """Segment file after file; one that fails is skipped.

    Returns:
        The files that failed, with the reason.
    """
    import torch

    failures = []
    for k, (path, stem) in enumerate(zip(paths, unique_stems(paths), strict=True), start=1):
        start = time.perf_counter()
        try:
            segment = segment_video if is_video(path) else segment_image
            summary = segment(predictor, vocabulary, path, output, stem)
        except (OSError, ValueError, FloatingPointError, torch.cuda.OutOfMemoryError) as error:
            failures.append((path, str(error)))
            summary = "FAILED"
        seconds = time.perf_counter() - start
        print(f"[{k}/{len(paths)}] {path.name}: {summary} ({seconds:.1f} s)", flush=True)
    return failures


def segment_image(
    predictor: Predictor, vocabulary: Vocabulary, path: Path, output: Path, stem: str
) -> str:
    """Write the three files of an image; returns what was found, in words."""
    image = read_image(path)
    result = predictor(image, vocabulary)
    result.save(output, stem, image)
    return describe(result)


def segment_video(
    predictor: Predictor, vocabulary: Vocabulary, path: Path, output: Path, stem: str
) -> str:
    """Write three files per frame and an overlay video; returns what was done, in words."""
    count, fps = video_size(path)
    output.mkdir(parents=True, exist_ok=True)
    # Everything is listed in every frame: a video needs frames of one size.
    ids = [*range(len(vocabulary))]
    if vocabulary.background.policy != "none":
        ids.append(IGNORE_LABEL)
    done, overlay = 0, output / f"{stem}_overlay.mp4"
    if overlay.exists() and not (output / f"{stem}_000000.json").exists():
        raise FileExistsError(f"{overlay}: expected no such file, got one that we did not write.")
    with open_video(overlay, fps) as video:
        for frame in tqdm(video_frames(path), total=count or None, desc=path.name, unit="frame"):
            result = predictor(frame, vocabulary)
            result.save(output, f"{stem}_{done:06d}", frame)
            video.write(draw_overlay(frame, result.label_map, result.names, legend_ids=ids))
            done += 1
    return f"{done} frames"


def describe(result: Segmentation, most: int = 4) -> str:
    """The largest classes with their share of the picture."""
    shares = area_shares(result.label_map, len(result.names))
    order = [i for i in shares.argsort()[::-1] if shares[i] > 0]
    parts = [f"{result.names[i]} {100 * shares[i]:.0f} %" for i in order[:most]]
    return ", ".join(parts + ["..."] * (len(order) > most)) or "nothing known"


if __name__ == "__main__":
    sys.exit(main())
