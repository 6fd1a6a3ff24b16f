"""Label maps and video frames made once from what the user gave, as files in a cache folder.

Files, so that whatever reads label maps works on every format alike: mappers, evaluators, the
scorer of folders, and other Detectron2 projects.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from stseg.data.image_io import image_size, size_and_turn
from stseg.data.opening import is_whole
from stseg.data.pixel_values import swaps_sides
from stseg.data.readers.annotations import Annotations, Drawing, hash_of
from stseg.data.videos import DamagedVideoError, read_video, video_size
from stseg.render import encode_labels, label_encoding
from stseg.structures import Vocabulary
from stseg.utils import as_bytes, cache_folder, irregular_kind, write_atomically

logger = logging.getLogger(__name__)

_VERSION = 1  # of the drawing; a change makes new folders
_FRAMES_VERSION = 2  # the same of frames
_SECONDS_BEFORE_PROGRESS = 5.0
_JPEG_QUALITY = 95
_MOST_MISSING = 0.1  # share of frames; where more are, half a file was taken for a whole one


def cache_root() -> Path:
    """$STSEG_CACHE, or ~/.cache/stseg, read at every call."""
    return cache_folder("$STSEG_CACHE").absolute()


def draw_label_maps(
    name: str,
    annotations: Annotations,
    ids: Mapping[str, int],
    vocabulary: Vocabulary,
    fill: int,
) -> tuple[Path, list[dict[str, str]]]:
    """Draw the label map of every image, unless an earlier call did.

    The folder is named after the data set and a hash of annotation, names and images, so that a
    change of any of them draws anew. Only what is not there, damaged, or of another size than its
    image, is drawn: a run that was killed goes on where it stopped. The folder holds labels/ and
    names.json, and may be removed between runs.

    Args:
        name: of the data set.
        annotations: what to draw.
        ids: class id of every label.
        vocabulary: the classes.
        fill: class id of pixels that no shape covers, or IGNORE_LABEL.

    Returns:
        The folder, and the records with "file_name" and "sem_seg_file_name".

    Raises:
        OSError: if the cache cannot be written; names the variable to set.
        ValueError: if an image has another size than its annotation states, or a map cannot be
            drawn.
    """
    content = [_VERSION, annotations.key, sorted(ids.items()), vocabulary.synonyms, fill]
    images = [(d.image, d.stem) for d in annotations.drawings]
    folder = cache_root() / "labels" / f"{_plain(name)}-{hash_of(content, images)[:16]}"
    files = [folder / "labels" / f"{drawing.stem}.png" for drawing in annotations.drawings]
    jobs = list(zip(annotations.drawings, files, strict=True))
    are_good = in_threads(_is_good, jobs, f"checking labels of {name}") if folder.exists() else []
    todo = [job for job, is_good in zip_longest(jobs, are_good) if not is_good]

    def draw(job: tuple[Drawing, Path]) -> None:
        labels = _draw_one(annotations, job[0], ids, fill)
        job[1].parent.mkdir(parents=True, exist_ok=True)
        write_atomically(job[1], encode_labels(labels, len(vocabulary)))

    names_file, names_json = folder / "names.json", _names_json(name, vocabulary)
    if todo or not names_file.is_file() or names_file.read_bytes() != names_json:
        with _writable(folder):
            in_threads(draw, todo, f"drawing labels of {name}")
            write_atomically(names_file, names_json)
    return folder, [
        {"file_name": drawing.image, "sem_seg_file_name": str(file)}
        for drawing, file in zip(annotations.drawings, files, strict=True)
    ]


def _is_good(job: tuple[Drawing, Path]) -> bool:
    """Whether a label map is there, whole, and of the size that the image has now."""
    try:
        return is_whole(job[1]) and image_size(job[1]) == image_size(job[0].image)
    except (OSError, ValueError):  # damaged; what the image lacks is told when it is drawn
        return False


def _draw_one(
    annotations: Annotations, drawing: Drawing, ids: Mapping[str, int], fill: int
) -> np.ndarray:
    size, turn = size_and_turn(drawing.image)
    if drawing.size not in (None, size):
        cure = "Annotate the image as it is now, or put the original back."
        if swaps_sides(turn) and drawing.size == size[::-1]:
            cure = (
                "EXIF turns the image, and it was annotated without: annotate it as people see it, "
                "or save it without EXIF rotation."
            )
        raise ValueError(
            f"{drawing.source}: expected the size of its image {drawing.image}, {size[0]} x "
            f"{size[1]}, got {drawing.size[0]} x {drawing.size[1]} (height x width). {cure}"
        )
    return annotations.draw(drawing, size, ids, fill)


def _names_json(name: str, vocabulary: Vocabulary) -> bytes:
    """A names file, so that the folder can be given to the scorer or the demo as it is."""
    content = {
        "name": name,
        "classes": [list(group) for group in vocabulary.synonyms],
        "ignore": label_encoding(len(vocabulary))[1],
        "allow_shared_names": True,
    }
    return as_bytes(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def extract_frames(video: Path, every: int = 1) -> Path:
    """Write the frames of a video as JPEG, unless an earlier call did and they are whole still.

    Where up to a tenth of the frames is damaged, the others are written, under the numbers of the
    source; how many are missing is logged at every call.

    Args:
        video: file; its path, size and time of change name the folder.
        every: of so many frames the first is written.

    Returns:
        The folder.

    Raises:
        BrokenFileError: if more than a tenth of the frames cannot be read.
        OSError: if the cache cannot be written; names the variable to set.
    """
    stat = video.stat()
    key = hash_of(_FRAMES_VERSION, str(video.resolve()), stat.st_size, stat.st_mtime_ns, every)[:16]
    folder = cache_root() / "frames" / f"{_plain(video.stem)}-{key}"
    done = folder / ".complete"
    damage = _known_damage(folder, done)
    if damage is None:
        with _writable(folder):
            damage = _write_frames(video, every, folder, done)
    if damage:
        logger.warning(damage)
    return folder


def _known_damage(folder: Path, done: Path) -> str | None:
    """What an earlier call said of a video; None if its frames are not all there as written."""
    try:
        content = json.loads(done.read_bytes())
        for name, checksum in content["frames"].items():
            file = folder / name
            if irregular_kind(file) or zlib.crc32(file.read_bytes()) != checksum:
                raise ValueError(f"{name} is damaged")
        return content["damage"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        logger.warning("Frames in %s are made again (%s).", folder, error)
        return None


def _write_frames(video: Path, every: int, folder: Path, done: Path) -> str:
    """Write the frames, then what was written; gives what the video lacks, "" if nothing."""
    total = video_size(video)[0] or None
    name = f"frames of {video.name}"
    progress = tqdm(read_video(video), desc=name, total=total, delay=_SECONDS_BEFORE_PROGRESS)
    written, damage = {}, ""
    try:
        for frame in progress:
            if frame.number % every == 0:
                options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
                ok, raw = cv2.imencode(".jpg", frame.pixels[..., ::-1], options)
                assert ok
                file = folder / f"{video.stem}_{frame.number:06d}.jpg"
                write_atomically(file, raw.tobytes())
                written[file.name] = zlib.crc32(raw.tobytes())
    except DamagedVideoError as error:
        if error.missing > _MOST_MISSING:
            raise
        damage = str(error)
    write_atomically(done, as_bytes(json.dumps({"frames": written, "damage": damage})))
    return damage


def in_threads(work: Callable[[Any], Any], jobs: Sequence[Any], what: str) -> list[Any]:
    """What comes of each job, in order, with a progress bar.

    No job is begun after an error, or after Ctrl-C.
    """
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 16))
    try:
        results = pool.map(work, jobs)
        return list(tqdm(results, what, len(jobs), delay=_SECONDS_BEFORE_PROGRESS))
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Make a folder of the cache; say what to do where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.filename is None or cache_root() not in Path(error.filename).parents:
            raise
        raise OSError(
            f"STSEG_CACHE: expected a folder for label maps and frames that can be written, "
            f"got {cache_root()} ({error.strerror}). Set STSEG_CACHE to another."
        ) from error


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
