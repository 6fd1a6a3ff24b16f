"""Videos: every frame that can be read, at the time that its source gives it. OpenCV only.

Rotation is applied as players apply it. Sound is copied by `stseg.data.sound_video`.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stseg.data.opening import BrokenFileError, tell_once
from stseg.utils import irregular_kind

_USUAL_FPS = 25.0
_MOST_FPS = 60.0
#: Seconds that one frame may stand: beyond that its time is taken for damaged.
_LONGEST_STAND = 600.0
#: Failures in a row after which a video is given up, where its header does not tell the end.
_MOST_FAILURES, _FAILURES = 1000, 25
#: What may be missing at the end without a word: headers tell lengths roughly.
_ROUGHLY = (2.5, 0.02)  # frames, and share of all


class DamagedVideoError(BrokenFileError):
    """A video of which some frames cannot be read; the others were given.

    Attributes:
        missing: share of the frames that cannot be read, in [0, 1].
    """

    def __init__(self, text: str, missing: float) -> None:
        """Say what is wrong, and how much is missing."""
        super().__init__(text)
        self.missing = missing


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        number: in the source, from 0; frames that cannot be read count.
        seconds: after the first one is due.
        pixels: (H, W, 3) uint8 RGB.
    """

    number: int
    seconds: float
    pixels: np.ndarray


@dataclass(frozen=True)
class VideoFacts:
    """What one look at all frames says.

    Attributes:
        frames: that can be read.
        fps: of a video that shows each of them at its time, or nearly.
        seconds: when the last one ends.
    """

    frames: int
    fps: float
    seconds: float


def read_video(path: Path) -> Iterator[Frame]:
    """Frames in order; what is damaged is passed over.

    Raises:
        BrokenFileError: if it is no file or holds no frame that can be read; names it.
        DamagedVideoError: at the end, if frames were missing; says how many.
    """
    with _opened(path) as capture:
        walk = _Walk(capture, path)
        for number, seconds in walk:
            ok, frame = capture.retrieve()
            if ok:
                yield Frame(number, seconds, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            else:
                walk.failed += 1
        walk.check()


def video_frames(path: Path) -> Iterator[np.ndarray]:
    """The pixels of `read_video`, (H, W, 3) uint8 RGB."""
    return (frame.pixels for frame in read_video(path))


def video_size(path: Path) -> tuple[int, float]:
    """Number of frames (0 if the file does not say) and frames per second, as its header has it."""
    with _opened(path) as capture:
        return _stated(capture)


def look_at_video(path: Path) -> VideoFacts:
    """Go through a video once, without keeping a frame.

    Raises:
        BrokenFileError: if it is no file or holds no frame that can be read; names it.
    """
    with _opened(path) as capture:
        walk = _Walk(capture, path)
        times = [seconds for _, seconds in walk]
    if not times:
        raise walk.nothing()
    fps = rate_of(times, walk.fps)
    return VideoFacts(len(times), fps, times[-1] + 1 / fps)


def rate_of(times: list[float], stated: float) -> float:
    """Frames per second of a video of constant rate that has a place for every time.

    Args:
        times: in seconds, rising.
        stated: by the header; the mean, where the rate varies.
    """
    gaps = np.diff(times)
    if not gaps.size or abs(gaps * stated - 1).max() < 0.1:
        return stated
    usual = float(np.quantile(gaps, 0.1))
    if np.median(abs(gaps * stated - 1)) < 0.1 or usual <= 0:  # a gap where frames are missing
        return stated
    return min(max(stated, 1 / usual), _MOST_FPS)


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    kind = irregular_kind(path)
    if kind:  # opening a pipe would wait for ever
        raise BrokenFileError(f"Video {path}: expected a file, got {kind}. Take it out.")
    with _plain_name(path) as plain:
        capture = cv2.VideoCapture(plain, cv2.CAP_FFMPEG)
        try:
            yield capture
        finally:
            capture.release()


@contextmanager
def _plain_name(path: Path) -> Iterator[str]:
    """A name that OpenCV can be given, which knows UTF-8 only."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, f"video{path.suffix}")
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)


def _stated(capture: cv2.VideoCapture) -> tuple[int, float]:
    count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    fps = fps if math.isfinite(fps) and fps > 0 else _USUAL_FPS
    return (int(count) if math.isfinite(count) and count > 0 else 0), fps


class _Walk:
    """Goes from frame to frame of an open video, over what is damaged, and counts."""

    def __init__(self, capture: cv2.VideoCapture, path: Path) -> None:
        self._capture, self._path = capture, path
        self.stated, self.fps = _stated(capture)
        self.read = self.failed = 0
        self._ends = 0.0  # when the last frame is over

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """Number and seconds of every frame that is there to be retrieved."""
        number = failures = 0
        last = -1 / self.fps
        while failures <= (_MOST_FAILURES if number < self.stated else _FAILURES):
            if self._capture.grab():
                self.read, self.failed = self.read + 1, self.failed + failures
                skipped, failures = failures, 0
                seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if not last < seconds < last + _LONGEST_STAND:  # some formats have no times
                    seconds = last + (1 + skipped) / self.fps
                last, self._ends = seconds, seconds + 1 / self.fps
                yield number, seconds
            else:
                failures += 1
            number += 1

    def nothing(self) -> BrokenFileError:
        """What to raise where there is no frame."""
        return BrokenFileError(
            f"Video {self._path}: expected frames, got a file that cannot be decoded. Put a whole "
            "copy in its place, or take it out."
        )

    def check(self) -> None:
        """Say how many frames were missing, if any."""
        if not self.read or self.read == self.failed:
            raise self.nothing()
        if self._path.suffix.lower() == ".avi":  # whose header counts frames
            cut = max(self.stated - self.read - self.failed, 0)
        else:  # by time: where the rate varies, the number is a guess
            frames, share = _ROUGHLY
            cut = round(self.stated - self._ends * self.fps)
            cut = cut if cut > max(frames, share * self.stated) else 0
        missing = self.failed + cut
        if missing:
            whole = self.read + missing
            raise DamagedVideoError(
                f"Video {self._path}: expected {whole} frames, got {whole - missing} that can be "
                f"read; {missing} are damaged or cut off. Put a whole copy in its place, or save "
                "what can be read as a video of its own.",
                missing / whole,
            )


def even_sides(frame: np.ndarray) -> tuple[int, int]:
    """(height, width) that codecs take."""
    height, width = (max(side // 2 * 2, 2) for side in frame.shape[:2])
    return height, width


class VideoFile:
    """Writes frames of one size to an .mp4; see `open_video`."""

    def __init__(self, path: Path, fps: float) -> None:
        """Remember where to; the file is opened by the first frame, which sets the size."""
        self.path, self.fps = path, fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._last: np.ndarray | None = None
        self._written = 0

    def write(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Append a frame.

        Args:
            frame: (H, W, 3) uint8 RGB; an odd last row or column is cut off.
            seconds: when it is due: the one before stands until then, so that frames keep their
                times where some are missing or their rate varies. By default it comes next.
        """
        if self._writer is None:
            self._open(frame)
        height, width = self._size
        frame = frame[:height, :width]
        if frame.shape[:2] != (height, width):  # OpenCV would leave it out without a word
            frame = cv2.resize(frame, (width, height))
        if seconds is not None:
            self._hold(seconds, frame)
            if round(seconds * self.fps) < self._written:
                self._last = frame
                return
        self._put(frame)

    def finish(self, seconds: float) -> None:
        """Let the last frame stand until a time."""
        if self._last is not None:
            self._hold(seconds, self._last)

    def _open(self, frame: np.ndarray) -> None:
        height, width = even_sides(frame)
        self._size = (height, width)
        # Browsers play VP9, and not MPEG-4 part 2, which every OpenCV writes.
        for code in ("vp09", "mp4v"):
            four = cv2.VideoWriter.fourcc(*code)
            with _quiet():
                self._writer = cv2.VideoWriter(str(self.path), four, self.fps, (width, height))
            if self._writer.isOpened():
                break
            tell_once(code, f"This OpenCV writes no {code}; browsers may not play the video.")
        else:
            raise OSError(f"{self.path}: this OpenCV cannot write .mp4 files.")

    def _hold(self, seconds: float, first: np.ndarray) -> None:
        while self._written < round(seconds * self.fps):
            self._put(first if self._last is None else self._last)

    def _put(self, frame: np.ndarray) -> None:
        assert self._writer is not None
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._last = frame
        self._written += 1

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV tells each codec that it lacks in several lines."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


@contextmanager
def open_video(path: Path, fps: float) -> Iterator[VideoFile]:
    """A video that appears under its name only when it is complete."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
        # OpenCV cannot be given names that are not UTF-8.
        written = temporary if os.fspath(path).isascii() else Path(folder, "video.mp4")
        video = VideoFile(written, fps)
        try:
            yield video
            video.close()
            if written.exists():
                if written != temporary:
                    shutil.move(written, temporary)
                os.replace(temporary, path)
        finally:
            video.close()
            temporary.unlink(missing_ok=True)
