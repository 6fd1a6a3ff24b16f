"""Label maps and video frames made once from what the user gave, as files in a cache folder.

Files, so that whatever reads label maps works on every format alike: mappers, evaluators, the
scorer of folders, and other Detectron2 projects.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from stseg.data.image_io import image_size
from stseg.data.media import video_frames, video_size
from stseg.data.readers.annotations import Annotations, Drawing, hash_of
from stseg.render import encode_labels, label_encoding
from stseg.structures import Vocabulary
from stseg.utils import cache_folder, write_atomically

_VERSION = 1  # of the drawing; a change makes new folders
_SECONDS_BEFORE_PROGRESS = 5.0
_JPEG_QUALITY = 95


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
    change of any of them draws anew. Only what is not there, or of another size than its image, is
    drawn: a run that was killed goes on where it stopped. The folder holds labels/ and names.json,
    and may be removed between runs.

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
    are_good = in_threads(_is_of_its_size, jobs, f"looking at labels of {name}")
    todo = [job for job, is_good in zip(jobs, are_good, strict=True) if not is_good]

    def draw(job: tuple[Drawing, Path]) -> None:
        labels = _draw_one(annotations, job[0], ids, fill)
        job[1].parent.mkdir(parents=True, exist_ok=True)
        write_atomically(job[1], encode_labels(labels, len(vocabulary)))

    if todo or not (folder / "names.json").is_file():
        with _writable(folder):
            in_threads(draw, todo, f"drawing labels of {name}")
            write_atomically(folder / "names.json", _names_json(name, vocabulary))
    return folder, [
        {"file_name": drawing.image, "sem_seg_file_name": str(file)}
        for drawing, file in zip(annotations.drawings, files, strict=True)
    ]


def _is_of_its_size(job: tuple[Drawing, Path]) -> bool:
    """Whether a label map is there and the image has not got another size since it was drawn."""
    try:
        return job[1].is_file() and image_size(job[1]) == image_size(job[0].image)
    except (OSError, ValueError):  # damaged; what the image lacks is told when it is drawn
        return False


def _draw_one(
    annotations: Annotations, drawing: Drawing, ids: Mapping[str, int], fill: int
) -> np.ndarray:
    size = image_size(drawing.image)
    if drawing.size not in (None, size):
        raise ValueError(
            f"{drawing.source}: expected the size of its image {drawing.image}, {size[0]} x "
            f"{size[1]}, got {drawing.size[0]} x {drawing.size[1]} (height x width). Annotate "
            "the image as it is now, or put the original back."
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
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def extract_frames(video: Path, every: int = 1) -> Path:
    """Write the frames of a video as JPEG, unless an earlier call did.

    Args:
        video: file; its path, size and time of change name the folder.
        every: of so many frames the first is written.

    Returns:
        The folder.

    Raises:
        BrokenFileError: if the video cannot be decoded.
        OSError: if the cache cannot be written; names the variable to set.
    """
    stat = video.stat()
    key = hash_of(_VERSION, str(video.resolve()), stat.st_size, stat.st_mtime_ns, every)[:16]
    folder = cache_root() / "frames" / f"{_plain(video.stem)}-{key}"
    done = folder / ".complete"
    if done.is_file():
        return folder
    total = video_size(video)[0] or None
    progress = tqdm(
        video_frames(video),
        desc=f"frames of {video.name}",
        total=total,
        delay=_SECONDS_BEFORE_PROGRESS,
    )
    with _writable(folder):
        for number, frame in enumerate(progress):
            if number % every == 0:
                ok, raw = cv2.imencode(
                    ".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
                )
                assert ok
                write_atomically(folder / f"{video.stem}_{number:06d}.jpg", raw.tobytes())
        write_atomically(done, b"")
    return folder


def in_threads(work: Callable[[Any], Any], jobs: Sequence[Any], what: str) -> list[Any]:
    """What comes of each job, in order, with a progress bar; no job is begun after an error."""
    workers = min(os.cpu_count() or 1, 16)
    return thread_map(work, jobs, max_workers=workers, desc=what, delay=_SECONDS_BEFORE_PROGRESS)


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
