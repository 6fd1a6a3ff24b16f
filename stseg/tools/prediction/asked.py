"""What a command line asks to be segmented: files, words, and what is written about them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stseg.data import IMAGE_SUFFIXES, BandRule, find_media, unique_stems
from stseg.exports import EXPORT_KINDS
from stseg.render import SAVED_KINDS
from stseg.structures import Background, Vocabulary
from stseg.tools.prediction.segment_files import Item, Wanted
from stseg.tools.prediction.steady import SteadyLabels
from stseg.tools.prediction.tiling import Tiling

#: In the output folder: what was asked for. Hidden, so that no picture is called like it.
REQUEST = ".stseg-predict.json"
VIDEO = "video"
KINDS = (*SAVED_KINDS, VIDEO, *EXPORT_KINDS)


@dataclass(frozen=True)
class Asked:
    """The whole of a command line, read and checked.

    Attributes:
        items: all files, also those of other shards.
        vocabulary: with its background policy.
        wanted: what is written about each.
        exports: formats that are written about all together.
    """

    items: tuple[Item, ...]
    vocabulary: Vocabulary
    wanted: Wanted
    exports: tuple[str, ...]


def read_request(args: argparse.Namespace) -> Asked:
    """Find the files, read the words, check the output folder.

    Raises:
        ValueError: if a part is missing, wrong, or given twice.
        FileNotFoundError: for an input that leads to nothing.
        ImportError: for a flag whose extra is missing.
    """
    kinds = _kinds(args.save)
    if args.batch < 1:
        raise ValueError(f"--batch: expected a number of images from 1, got {args.batch}.")
    SteadyLabels(args.steady)  # refuses what is no strength
    tiling = Tiling.parse(args.tile, args.overlap, BandRule.parse(args.bands, args.values))
    inputs, names = _inputs_and_names(args)
    vocabulary = Vocabulary.parse(names, background=Background.parse(args.background))
    paths = find_media(inputs, "Images", recursive=True, without=args.output)
    check_folder(args.output, paths)
    tiling.check_extra(paths)
    stems = unique_stems(paths, inputs)
    exports = tuple(kind for kind in kinds if kind in EXPORT_KINDS)
    saved = tuple(kind for kind in kinds if kind in SAVED_KINDS)
    if exports and "json" not in saved:
        saved += ("labels", "json")  # exports are made of these
    return Asked(
        items=tuple(map(Item, paths, stems)),
        vocabulary=vocabulary,
        wanted=Wanted(
            args.output,
            saved,
            VIDEO in kinds,
            args.batch,
            (args.output / REQUEST).is_file(),
            tiling,
            args.steady,
        ),  # fmt: skip
        exports=exports,
    )


def _kinds(text: str) -> list[str]:
    kinds = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [kind for kind in kinds if kind not in KINDS]
    if wrong or not kinds:
        raise ValueError(f"--save: expected some of {', '.join(KINDS)}, got {text!r}.")
    return kinds


def _inputs_and_names(args: argparse.Namespace) -> tuple[list[str], str | Vocabulary]:
    """IMAGES and NAMES as they stand, or of the data set that --data describes."""
    given, names = list(args.what), args.vocabulary
    if names is None and given and not args.data:
        names = given.pop()
        if Path(names).suffix.lower() in IMAGE_SUFFIXES and Path(names).is_file():
            raise ValueError(
                f"NAMES: expected words after the images, such as 'cat; sofa', got {names!r}, "
                "which is an image."
            )
    inputs = [*(args.input or ()), *given]
    if args.data:
        files, of_data = _data_set(args.data)
        inputs, names = inputs or files, of_data if names is None else names
    for what, is_there in (("NAMES", names is not None), ("IMAGES", bool(inputs))):
        if names is None or not is_there:
            raise ValueError(
                f"{what}: expected images and, after them, what to look for, as in photo.jpg "
                "'cat; sofa', or --data, got none."
            )
    return inputs, names


def _data_set(flag: str) -> tuple[list[str], Vocabulary]:
    """The images and names of `--data`."""
    from detectron2.data import DatasetCatalog

    from stseg.config import parse_entry, parse_flag
    from stseg.data import dataset_vocabulary, register_data

    entry = parse_entry(parse_flag(flag), "--data")
    register_data(entry)
    vocabulary = dataset_vocabulary(entry.name)  # first: captions have none
    return [record["file_name"] for record in DatasetCatalog.get(entry.name)], vocabulary


def check_folder(output: Path, paths: Sequence[Path]) -> None:
    """Refuse an output folder that holds inputs: `photo.png` would be replaced by its labels."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output: expected a folder, got the file {output}.")
    for path in paths:
        if path.resolve().parent == output.resolve():
            raise ValueError(
                f"--output: expected another folder than that of the inputs, got {output}, where "
                f"{path.name} lies and could be overwritten."
            )
