"""What a user points at: files, folders, globs and videos."""

import glob
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from stseg.data.image_io import IMAGE_SUFFIXES, BrokenFileError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_USUAL_FPS = 25.0


def is_video(path: Path) -> bool:
    """Whether a file counts as a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_media(
    inputs: Sequence[str],
    what: str = "--input",
    *,
    recursive: bool = False,
    without: Path | None = None,
) -> list[Path]:
    """Images and videos behind files, folders and globs, each once, in order.

    A file is taken whatever its suffix; of a folder or a glob only what looks like an image or a
    video.

    Args:
        inputs: as a person writes them.
        what: they are, for messages.
        recursive: of folders, also what lies in folders below, but for hidden ones.
        without: a folder that is left out with all below it.

    Raises:
        FileNotFoundError: for an input that leads to nothing; names it.
    """
    found: dict[Path, None] = {}
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_file():
            matches = [path]
        elif path.is_dir() and recursive:
            matches = _media_below(path, without)
        else:
            pattern = os.path.join(glob.escape(str(path)), "*") if path.is_dir() else str(path)
            matches = [p for p in map(Path, sorted(glob.glob(pattern, recursive=True)))]
            matches = [p for p in matches if p.is_file() and _looks_like_media(p)]
        if not matches:
            kinds = " ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)
            raise FileNotFoundError(
                f"{what}: expected a file, a folder or a pattern with images or videos ({kinds}), "
                f"got {text!r}, where none was found."
            )
        found.update(dict.fromkeys(matches))
    return list(found)


def _media_below(folder: Path, without: Path | None) -> list[Path]:
    found = []
    for place, folders, files in os.walk(folder):
        left_out = [] if without is None else [without.resolve()]
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and Path(place, name).resolve() not in left_out
        )
        paths = (Path(place, name) for name in sorted(files) if not name.startswith("."))
        found += [path for path in paths if _looks_like_media(path)]
    return found


def _looks_like_media(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES


def unique_stems(paths: Sequence[Path], inputs: Sequence[str] = ()) -> list[str]:
    """One output stem per file, so that no two files write to the same place.

    Names differ without regard to case, as on Windows and macOS; those of a video leave room for
    its frames (`<stem>_000123`).

    Args:
        paths: of `find_media`.
        inputs: what they were found behind; files below one of these folders keep their place
            below it, as "folder/stem".
    """
    roots = [path for text in inputs if (path := Path(text).expanduser()).is_dir()]
    taken: set[str] = set()
    stems = []
    # Images first: a video can give way to a picture that is called like one of its frames.
    for path in sorted(paths, key=is_video):
        root = next((root for root in roots if path.is_relative_to(root)), path.parent)
        place = path.relative_to(root).with_suffix("").as_posix()
        stem, number = place, 1
        while _is_taken(stem, taken, is_video(path)):
            number += 1
            stem = f"{place}-{number}"
        taken.add(stem.casefold())
        stems.append((path, stem))
    by_path = dict(stems)
    return [by_path[path] for path in paths]


def _is_taken(stem: str, taken: set[str], video: bool) -> bool:
    frame = re.compile(re.escape(stem.casefold()) + r"_\d{6}")
    return stem.casefold() in taken or (video and any(frame.fullmatch(name) for name in taken))


def video_frames(path: Path) -> Iterator[np.ndarray]:
    """Frames as (H, W, 3) uint8 RGB, in order.

    Raises:
        BrokenFileError: if the file cannot be decoded or holds no frame; names it.
    """
    capture = cv2.VideoCapture(str(path))
    count = 0
    try:
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            count += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
    if not count:
        raise BrokenFileError(f"Video {path}: expected frames, got a file that cannot be decoded.")


def video_size(path: Path) -> tuple[int, float]:
    """Number of frames (0 if the file does not say) and frames per second."""
    capture = cv2.VideoCapture(str(path))
    try:
        count = int(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0))
        fps = capture.get(cv2.CAP_PROP_FPS)
    finally:
        capture.release()
    return count, fps if math.isfinite(fps) and fps > 0 else _USUAL_FPS


class VideoFile:
    """Writes frames of one size to an .mp4; see `open_video`."""

    def __init__(self, path: Path, fps: float) -> None:
        """Remember where to; the file is opened by the first frame, which sets the size."""
        self.path, self.fps = path, fps
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: np.ndarray) -> None:
        """Append a (H, W, 3) uint8 RGB frame; an odd last row or column is cut off."""
        height, width = (side // 2 * 2 for side in frame.shape[:2])  # codecs want even sides
        if self._writer is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self.path), code, self.fps, (width, height))
            if not self._writer.isOpened():
                raise OSError(f"{self.path}: this OpenCV cannot write .mp4 files.")
        self._writer.write(cv2.cvtColor(frame[:height, :width], cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def open_video(path: Path, fps: float) -> Iterator[VideoFile]:
    """A video that appears under its name only when it is complete."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
    video = VideoFile(temporary, fps)
    try:
        yield video
        video.close()
        if temporary.exists():
            os.replace(temporary, path)
    finally:
        video.close()
        temporary.unlink(missing_ok=True)
