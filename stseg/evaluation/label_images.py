"""Folders of label maps: which files belong together, and what they hold. NumPy and Pillow only.

Every refusal names the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from stseg.config import is_folder
from stseg.data import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    PLAIN_NAMES,
    LabelCoding,
    Naming,
    folders_of,
    read_ids,
    refuse_same_files,
)
from stseg.evaluation.metrics import fold_background
from stseg.structures import IGNORE_LABEL
from stseg.utils import same_name, some_of

#: Of the stem of a picture that holds confidences and lies beside its label map.
CONFIDENCE_ENDING = "_confidence"


@dataclass(frozen=True)
class LabelPair:
    """A prediction and the label map it is scored against.

    Attributes:
        name: path below both folders, without suffix, with "/" on every system.
        prediction: file of predicted ids.
        label: file of true ids.
        confidence: file of the prediction's confidences, None where not asked for.
    """

    name: str
    prediction: Path
    label: Path
    confidence: Path | None = None


def pair_folders(
    pred: str | PathLike[str],
    gt: str | PathLike[str],
    listed: Iterable[str] | None = None,
    naming: Naming = PLAIN_NAMES,
) -> list[LabelPair]:
    """Pair the label maps of two folders by their path without suffix.

    Folders below are searched too. Files of other suffixes than .png, .tif and .tiff, and hidden
    ones, are left alone, so that overlays and tables may lie beside.

    Args:
        pred: folder of predictions.
        gt: folder of labels.
        listed: names of the images to take, with or without suffix; the rest is left out. By
            default all, and then every file needs its partner.
        naming: what of the labels' names is not compared, and of the predictions', which are called
            like their images, as far as they have it.

    Returns:
        Pairs in the order of their names.

    Raises:
        FileNotFoundError: if a folder is missing or holds no label map.
        ValueError: if a file has no partner or is its own, two files of a folder share a name, or
            a listed name has no file.
    """
    predictions = _label_files(Path(pred), Path(gt), naming, is_label=False)
    labels = _label_files(Path(gt), Path(pred), naming, is_label=True)
    for name in [n for n in predictions if n.endswith(CONFIDENCE_ENDING) and n not in labels]:
        if name.removesuffix(CONFIDENCE_ENDING) in predictions:
            del predictions[name]
    if listed is None:
        _refuse_single(predictions, labels, Path(gt), "a label for every prediction")
        _refuse_single(labels, predictions, Path(pred), "a prediction for every label")
        names: Collection[str] = labels
    else:
        names = {_without_suffix(name) for name in listed if name.strip()}
        for folder, files in ((pred, predictions), (gt, labels)):
            missing = sorted(set(names) - set(files))
            if missing or not names:
                raise ValueError(
                    f"{folder}: expected the listed images, got none for "
                    f"{some_of(missing) or 'an empty list'}. Add the files or correct the list."
                )
    refuse_same_files(str(gt), [(predictions[n], labels[n]) for n in sorted(names)], "prediction")
    return [LabelPair(name, predictions[name], labels[name]) for name in sorted(names)]


def read_pair(
    pair: LabelPair,
    num_classes: int,
    ignore: Sequence[int],
    *,
    fold: bool = False,
    coding: LabelCoding | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Read and check both maps.

    Args:
        pair: files.
        num_classes: N of the labels.
        ignore: ids in the label file that are not scored.
        fold: predictions from N - 1 on count as N - 1, the background (VOC-20b).
        coding: what the values of the label mean, instead of `ignore`.

    Returns:
        Prediction and label, (H, W) int64. The label holds `IGNORE_LABEL` where it is not scored,
        and the prediction 0 where it is out of range there; elsewhere both are in [0, N).

    Raises:
        OSError: if a file cannot be decoded.
        ValueError: if a file holds no ids or wrong ones, or the sizes differ.
    """
    label = (coding or LabelCoding(num_classes, tuple(ignore))).read(pair.label)
    prediction = read_ids(pair.prediction, "Prediction")
    if prediction.shape != label.shape:
        raise ValueError(
            f"Prediction {pair.prediction}: expected the size of its label {pair.label}, "
            f"{_size(label)}, got {_size(prediction)} (width x height). Predict at the size of "
            "the labels, or enlarge by nearest neighbour."
        )
    if fold:
        prediction = fold_background(prediction, num_classes)
    outside = (prediction < 0) | (prediction >= num_classes)
    if outside.any():
        wrong = np.unique(prediction[outside & (label != IGNORE_LABEL)])
        if wrong.size:
            raise ValueError(
                f"Prediction {pair.prediction}: expected ids 0 to {num_classes - 1} "
                f"({num_classes} classes) wherever the label is scored, got "
                f"{some_of(wrong)}. Predict a class for every pixel, or give the "
                "names that belong to these ids; predictions hold class ids, whatever values the "
                "labels have."
            )
        prediction = np.where(outside, 0, prediction)
    return prediction, label


def _label_files(folder: Path, other: Path, naming: Naming, *, is_label: bool) -> dict[str, Path]:
    """Label maps in and below a folder, but not in the other one, by what pairs them."""
    if not is_folder(folder):
        raise FileNotFoundError(f"{folder}: expected a folder of label maps, got nothing there.")
    found: dict[str, Path] = {}
    paths = [(p, root, b) for b, root in folders_of(folder).items() for p in root.rglob("*")]
    for path, root, beginning in sorted(paths):
        below = path.relative_to(root)
        hidden = any(part.startswith(".") for part in below.parts)
        if hidden or path.suffix.lower() not in LABEL_SUFFIXES or path.is_dir():
            continue
        if folder != other and other in path.parents and folder in other.parents:
            continue
        name = naming.key_of(beginning + below.as_posix(), is_label=is_label)
        if name is None and is_label:
            continue
        if name is None:
            name = beginning + below.with_suffix("").as_posix()
        name = same_name(name)
        if name in found:
            raise ValueError(
                f"{folder}: expected one file per name, got {found[name].name} and {path.name} "
                f"for {name}. Remove or rename one."
            )
        found[name] = path
    if not found:
        raise FileNotFoundError(
            f"{folder}: expected label maps ({', '.join(LABEL_SUFFIXES)}), got none. JPEG cannot "
            "hold ids."
        )
    return found


def _refuse_single(
    files: dict[str, Path], partners: dict[str, Path], where: Path, rule: str
) -> None:
    single = [files[name].name for name in sorted(files.keys() - partners.keys())]
    if single:
        raise ValueError(
            f"{where}: expected {rule}, got no partner for {some_of(single)} ({len(single)} of "
            f"{len(files)} files). Add the missing files, or list the images to score."
        )


def _without_suffix(name: str) -> str:
    name = same_name(Path(name.strip()).as_posix())
    ends = [end for end in IMAGE_SUFFIXES if name.lower().endswith(end)]
    return name[: -len(ends[0])] if ends else name


def _size(label_map: np.ndarray) -> str:
    return f"{label_map.shape[1]} x {label_map.shape[0]}"
