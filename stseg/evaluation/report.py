"""Reports of a result file: one HTML page that needs no other file, or Markdown with pictures.

Per-class bars, what is taken for what, and the worst images beside their labels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from stseg.data import IMAGE_SUFFIXES, LabelCoding, Naming, read_image
from stseg.evaluation.confusion import ConfusionMatrix
from stseg.evaluation.label_images import pair_folders, read_pair
from stseg.evaluation.report_markdown import markdown_page
from stseg.evaluation.report_pictures import ImageCard, draw_pictures
from stseg.evaluation.report_rows import (
    absent_classes,
    class_head,
    class_lines,
    confusion_rows,
    figure_head,
    figure_rows,
    origin_rows,
    percent,
    worst_images,
)
from stseg.evaluation.results import Result
from stseg.render import class_colours, render_page
from stseg.structures import IGNORE_LABEL
from stseg.utils import same_name, write_atomically

logger = logging.getLogger(__name__)

SUFFIXES = (".html", ".md")
_TILES = ("mIoU_gt", "mIoU_union", "seen_mIoU", "unseen_mIoU", "harmonic_mIoU", "pACC")


def write_report(
    path: str | PathLike[str],
    result: Result,
    *,
    title: str = "Evaluation",
    pred: str | PathLike[str] | None = None,
    gt: str | PathLike[str] | None = None,
    photos: str | PathLike[str] | None = None,
    worst: int = 12,
) -> list[Path]:
    """Write a page about a result.

    Args:
        path: ending in .html or .md; its folder is made if missing. The pictures of a Markdown
            page go into a folder beside it, `<stem>_images`.
        result: what to show.
        title: heading.
        pred: folder of predictions; by default the one that the result names, if it is there.
        gt: folder of labels; likewise.
        photos: folder of the photographs, by the same names; None shows label maps alone.
        worst: images to show, those of the lowest mean IoU.

    Returns:
        The files written, the page first.

    Raises:
        OSError: if a given folder or a file in it is missing or cannot be decoded.
        ValueError: if the suffix is another, or the files are not those that were scored.
        ImportError: if the page is an .html one and jinja2 is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: expected a name ending in .html or .md, got {path.suffix!r}.")
    folders = _folder(pred, result, "pred"), _folder(gt, result, "gt")
    cards, note = [], "No pictures: the folders of predictions and labels were not given."
    if folders[0] and folders[1]:
        cards = _cards(result, folders[0], folders[1], photos, worst)
        note = (
            f"The {len(cards)} images of lowest mean IoU out of {len(result.images)}. Colours are "
            "classes, the same in every picture; hatched pixels are not scored."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".html":
        files = {path: html_page(result, title, cards, note)}
    else:
        folder = path.with_name(f"{path.stem}_images")
        page, pictures = markdown_page(result, title, cards, note, folder.name)
        files = {path: page} | {folder / name: content for name, content in pictures.items()}
        if pictures and folder.exists() and not path.exists():
            raise ValueError(
                f"{path}: expected no folder {folder.name} beside a new page, got one, whose files "
                "could be replaced. Name another page, or remove it."
            )
        if pictures:
            folder.mkdir(exist_ok=True)
    for file, content in files.items():
        write_atomically(file, content)
    return list(files)


def html_page(result: Result, title: str, cards: Sequence[ImageCard], note: str) -> bytes:
    """The file's bytes.

    Args:
        result: what to show.
        title: heading.
        cards: images to show.
        note: above the images.

    Raises:
        ImportError: if jinja2 is not installed.
    """
    shown = [(n, percent(result.figures[n], 2)) for n in _TILES if n in result.figures]
    name, number, *rest = figure_head(result)
    predicted, silent = absent_classes(result)
    return render_page(
        "evaluation.html",
        title=title,
        summary=[*shown, ("images", result.protocol.num_images)],
        figure_head=[name, f"# {number}", *rest],
        figures=figure_rows(result),
        class_head=[f"# {cell}" for cell in class_head(result)],
        classes=class_lines(result),
        predicted=predicted,
        silent=silent,
        confusions=confusion_rows(result),
        names=result.names,
        colours=class_colours(result.names),
        note=note,
        cards=cards,
        origin=origin_rows(result),
        percent=percent,
    )


def _folder(
    given: str | PathLike[str] | None, result: Result, key: str
) -> str | PathLike[str] | None:
    """The folder given, or the one that was scored if it is still there."""
    if given is not None:
        return given
    known = result.provenance.get(key)
    if known is None or not Path(known).is_dir():
        logger.warning("No folder %r of the result: give --%s for pictures.", known, key)
        return None
    return known


def _coding(result: Result) -> tuple[LabelCoding | None, Naming]:
    """What the labels' values mean and how files are called, as they were scored."""
    coding = result.provenance.get("label_coding")
    naming = Naming(**result.provenance.get("file_names", {}))
    return coding and LabelCoding.of_json(coding), naming


def _cards(
    result: Result,
    pred: str | PathLike[str],
    gt: str | PathLike[str],
    photos: str | PathLike[str] | None,
    worst: int,
) -> list[ImageCard]:
    rows = worst_images(result, worst)
    if not rows:
        return []
    protocol = result.protocol
    cards = {}
    photo_files = _photo_files(Path(photos)) if photos is not None else {}
    coding, naming = _coding(result)
    for pair in pair_folders(pred, gt, [row["name"] for row in rows], naming):
        prediction, label = read_pair(
            pair,
            protocol.num_classes,
            protocol.ignore,
            fold=protocol.fold_background,
            coding=coding,
        )
        photo = photo_files.get(pair.name)
        pixels = read_image(photo) if photo else None
        pictures = draw_pictures(prediction, label, result.names, pixels)
        cards[pair.name] = (pictures, _image_classes(prediction, label, protocol.num_classes))
    return [ImageCard(row["name"], row["mIoU_gt"], *cards[row["name"]]) for row in rows]


def _image_classes(
    prediction: np.ndarray, label: np.ndarray, num_classes: int
) -> list[tuple[int, float, float]]:
    matrix = ConfusionMatrix(num_classes)
    matrix.update(prediction, label, IGNORE_LABEL)
    truth, iou = matrix.counts.sum(axis=1), matrix.iou()
    order = np.argsort(-truth, kind="stable")[: np.count_nonzero(truth)]
    return [(int(i), float(iou[i]), float(truth[i] / truth.sum())) for i in order]


def _photo_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of photographs, got nothing there.")
    return {
        same_name(path.relative_to(folder).with_suffix("").as_posix()): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()
    }
