"""Segment file after file, and write what was asked for about each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import cv2
import numpy as np
from tqdm import tqdm

from stseg.data import (
    DamagedVideoError,
    image_size,
    is_video,
    look_at_video,
    open_video_about,
    read_image,
    read_video,
)
from stseg.render import area_shares, draw_overlay
from stseg.structures import IGNORE_LABEL, Segmentation, Vocabulary
from stseg.tools.prediction.raster_files import segment_raster
from stseg.tools.prediction.steady import SteadyLabels
from stseg.tools.prediction.tiled import segment_picture
from stseg.tools.prediction.tiling import ARRAY, RASTER, WHOLE, Tiling
from stseg.utils import as_bytes, say, write_atomically

if TYPE_CHECKING:
    from stseg.predictor import Predictor

#: Mean confidence below which an answer says little. The miniature has 0.93 to 0.96 on scenes of
#: its world, and 0.01 to 0.11 on photographs or under words that it does not know.
LOW_CONFIDENCE = 0.3
#: Hidden, beside the files of a video of which frames could not be read.
INCOMPLETE = ".{}.incomplete"

# What is about one item, and not the program's fault; of RuntimeErrors only those about memory.
_FAULTS = (
    *(OSError, ValueError, FloatingPointError, MemoryError, RuntimeError, cv2.error),
    ImportError,  # of an extra that a file asks for
)


@dataclass(frozen=True)
class Item:
    """A file, and its place below the output folder, without suffix."""

    path: Path
    stem: str


@dataclass(frozen=True)
class Wanted:
    """What is written.

    Attributes:
        output: folder.
        kinds: of `Segmentation.save`.
        video: whether videos give an overlay video.
        batch: images that are segmented at once.
        again: the folder holds results of this command already, whose videos may be replaced.
        tiling: of large pictures.
        steady: how much labels of a video are held, see `SteadyLabels`.
    """

    output: Path
    kinds: tuple[str, ...]
    video: bool = True
    batch: int = 1
    again: bool = False
    tiling: Tiling = Tiling()
    steady: float = 0.0

    def place(self, item: Item) -> tuple[Path, str]:
        """Folder and stem of an item's files."""
        place = self.output / PurePosixPath(item.stem)
        return place.parent, place.name


@dataclass
class Outcome:
    """What came of the files.

    Attributes:
        done: those with results.
        failed: the others, with the reason.
        confidences: the mean of each image or video that was segmented.
    """

    done: list[Item] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)


def segment_files(
    predictor: Predictor, vocabulary: Vocabulary, items: Sequence[Item], wanted: Wanted
) -> Outcome:
    """Segment all; one that fails is skipped. A line on the screen for each."""
    outcome, start, number = Outcome(), time.perf_counter(), 0
    for way, group in _groups(items, wanted):
        told: Sequence[tuple[str, float] | Exception]
        try:
            told = _segment(predictor, vocabulary, group, wanted, way)
        except _FAULTS as error:
            shared = len(group) > 1
            told = [_alone(predictor, vocabulary, item, wanted, error, shared) for item in group]
        for item, answer in zip(group, told, strict=True):
            number += 1
            if isinstance(answer, Exception):
                outcome.failed.append((item.path, _reason(item, answer)))
                summary = "INCOMPLETE" if isinstance(answer, DamagedVideoError) else "FAILED"
            else:
                summary, confidence = answer
                outcome.done.append(item)
                outcome.confidences.append(confidence)
            spent = time.perf_counter() - start
            left = _duration(spent / number * (len(items) - number))
            times = f"{spent / number:.1f} s each, {left} left" if number < len(items) else ""
            ending = f" ({times})" if times else f" ({_duration(spent)} in all)"
            say(f"[{number}/{len(items)}] {item.path.name}: {summary}{ending}")
    return outcome


def _groups(items: Sequence[Item], wanted: Wanted) -> Iterator[tuple[str, list[Item]]]:
    """Images that follow one another, as many as go at once; large ones and videos alone.

    Each with the way in which it is segmented, see `_way`: a header is read once.
    """
    group: list[Item] = []
    for item in items:
        way = WHOLE if is_video(item.path) else _way(item, wanted)
        alone = is_video(item.path) or way != WHOLE
        if group and (len(group) == wanted.batch or alone):
            yield WHOLE, group
            group = []
        if alone:
            yield way, [item]
        else:
            group.append(item)
    if group:
        yield WHOLE, group


def _way(item: Item, wanted: Wanted) -> str:
    """See `Tiling.way_of`; what cannot be read says so when it is."""
    try:
        return wanted.tiling.way_of(item.path)
    except (OSError, ValueError):
        return WHOLE


def _alone(
    predictor: Predictor,
    vocabulary: Vocabulary,
    item: Item,
    wanted: Wanted,
    error: Exception,
    shared: bool,
) -> tuple[str, float] | Exception:
    """An item of a batch that failed; `error` is its own unless it is `shared` with others."""
    own = error
    if shared:
        try:
            return _segment(predictor, vocabulary, [item], wanted, WHOLE)[0]
        except _FAULTS as other:
            own = other
    if isinstance(own, RuntimeError) and not is_about_memory(own):
        raise own
    return own


def is_about_memory(error: Exception) -> bool:
    """Whether a RuntimeError of torch says that memory is short, on any device."""
    text = str(error).lower()
    return "out of memory" in text or "allocate memory" in text or "not enough memory" in text


def _reason(item: Item, error: Exception) -> str:
    """Why an item failed, in words that help."""
    if not isinstance(error, MemoryError | RuntimeError | cv2.error) or ": expected " in str(error):
        return str(error)
    try:
        height, width = image_size(item.path)
        size = f"{width} x {height} pixels"
    except (OSError, ValueError):
        size = "it"
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"expected memory for {size}, got none ({first}). Free some, take a smaller --batch, or "
        "see it in tiles: --tile 1024."
    )


def _segment(
    predictor: Predictor, vocabulary: Vocabulary, group: list[Item], wanted: Wanted, way: str
) -> list[tuple[str, float]]:
    """Write the files of each item; gives what was found, in words, and the mean confidence."""
    if is_video(group[0].path):
        return [_segment_video(predictor, vocabulary, group[0], wanted)]
    if way != WHOLE:
        return [_segment_large(predictor, vocabulary, group[0], wanted, way)]
    images = [read_image(item.path) for item in group]
    told = []
    for item, result in zip(group, predictor(images, vocabulary), strict=True):
        told.append(_saved(result, item, wanted))
    return told


def _saved(result: Segmentation, item: Item, wanted: Wanted) -> tuple[str, float]:
    result.save(*wanted.place(item), kinds=wanted.kinds)
    sure = float(result.confidence.mean())
    return f"{describe(result)}; mean confidence {sure:.2f}", sure


def _segment_large(
    predictor: Predictor, vocabulary: Vocabulary, item: Item, wanted: Wanted, way: str
) -> tuple[str, float]:
    """Write the files of a picture that is seen in tiles, or lies somewhere."""
    tiling, batch = wanted.tiling, wanted.batch
    if way == ARRAY:
        found = segment_picture(predictor, vocabulary, item.path, tiling, batch)
        return _saved(found, item, wanted)
    assert way == RASTER
    counts, sure = segment_raster(
        predictor, vocabulary, item.path, wanted.place(item),
        kinds=wanted.kinds, tiling=tiling, batch=batch,
    )  # fmt: skip
    shares = counts.pixels / max(counts.total, 1)
    return f"{_largest(shares, counts.names)}; mean confidence {sure:.2f}", sure


def _segment_video(
    predictor: Predictor, vocabulary: Vocabulary, item: Item, wanted: Wanted
) -> tuple[str, float]:
    """Write the files of every frame and an overlay video, as long as the source.

    Raises:
        DamagedVideoError: when all is written, if frames could not be read.
    """
    facts = look_at_video(item.path)
    folder, stem = wanted.place(item)
    folder.mkdir(parents=True, exist_ok=True)
    # Everything is listed in every frame: a video needs frames of one size.
    ids = [*range(len(vocabulary))]
    if vocabulary.background.policy != "none":
        ids.append(IGNORE_LABEL)
    overlay = folder / f"{stem}_overlay.mp4"
    if wanted.video and overlay.exists() and not wanted.again:
        raise FileExistsError(f"{overlay}: expected no such file, got one that we did not write.")
    sure, damage, steady = [], None, SteadyLabels(wanted.steady)
    with open_video_about(overlay, item.path, facts.fps) as video:
        try:
            for frame in tqdm(read_video(item.path), total=facts.frames, desc=stem, unit="frame"):
                result = steady.next(predictor(frame.pixels, vocabulary))
                if wanted.kinds:
                    result.save(folder, f"{stem}_{frame.number:06d}", kinds=wanted.kinds)
                if wanted.video:
                    picture = draw_overlay(
                        frame.pixels, result.label_map, result.names, legend_ids=ids
                    )
                    video.write(picture, frame.seconds)
                sure.append(float(result.confidence.mean()))
        except DamagedVideoError as error:
            damage = error
        video.finish(facts.seconds)
    marker = folder / INCOMPLETE.format(stem)
    marker.unlink(missing_ok=True)
    if damage is not None:
        write_atomically(marker, as_bytes(str(damage)))
        raise damage
    mean = float(np.mean(sure))
    return f"{len(sure)} frames; mean confidence {mean:.2f}", mean


def describe(result: Segmentation) -> str:
    """The largest classes with their share of the picture."""
    return _largest(area_shares(result.label_map, len(result.names)), result.names)


def _largest(shares: np.ndarray, names: Sequence[str], most: int = 4) -> str:
    order = [i for i in shares.argsort()[::-1] if shares[i] > 0]
    parts = [f"{names[i]} {100 * shares[i]:.0f} %" for i in order[:most]]
    return ", ".join(parts + ["..."] * (len(order) > most)) or "nothing known"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.{int(seconds < 10)}f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
