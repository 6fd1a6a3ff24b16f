"""Videos about a video: frames at its own times, however uneven, and its sound as it is.

Through PyAV (FFmpeg), the extra `stseg[video]`. Without it OpenCV writes frames at one rate, each
standing until the next is due, and no sound, see `stseg.data.videos.VideoFile`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from stseg.data.opening import tell_once
from stseg.data.videos import even_sides, open_video
from stseg.utils import is_installed

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer

#: Of MPEG; frames of all usual rates lie on it.
_TICKS = 90_000
# Browsers play VP9. Quality at one figure, and speed as for a video that is looked at once.
_CODEC, _OPTIONS = "libvpx-vp9", {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "6"}


class FrameWriter(Protocol):
    """What takes the frames of an answer."""

    def write(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Append (H, W, 3) uint8 RGB, due so long after the first one of the source."""
        ...

    def finish(self, seconds: float) -> None:
        """Let the last frame stand until a time."""
        ...


@contextmanager
def open_video_about(path: Path, source: Path, fps: float) -> Iterator[FrameWriter]:
    """An .mp4 about another video, which appears under its name only when it is complete.

    Args:
        path: of the file; replaced if it is there.
        source: the video whose times and sound it has; without PyAV, which is said once, it has one
            rate, and no sound.
        fps: of a video that has a place for every frame of the source, see `VideoFacts`.
    """
    if not is_installed("av"):
        tell_once(
            "av",
            f"{path.name}: written by OpenCV, without sound and at {fps:g} frames a second "
            "throughout. For the source's own times and its sound: pip install 'stseg[video]'.",
        )
        with open_video(path, fps) as plain:
            yield plain
        return
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
    try:
        # FFmpeg cannot be given names that are not UTF-8, but files.
        with ExitStack() as stack:
            file = stack.enter_context(open(temporary, "wb"))
            video = SoundVideo(file, stack.enter_context(open(source, "rb")), fps)
            stack.callback(video.close)
            yield video
            video.complete()
            stack.close()
        if temporary.stat().st_size:
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class SoundVideo:
    """Encodes frames at their times, and copies the packets of the source's first sound track."""

    def __init__(self, file: Any, source: Any, fps: float) -> None:
        """Look at the source; the file is begun by the first frame, which sets the size.

        Args:
            file: binary, open for writing.
            source: likewise, for reading.
            fps: how long a frame stands that comes with no time, and the last one by default.
        """
        import av

        self._file, self._fps = file, fps
        self._source = av.open(source)
        self._container: OutputContainer | None = None
        self._stream: Any = None
        self._waiting: tuple[av.VideoFrame, int] | None = None
        self._durations: dict[int, int] = {}
        self._packets: Iterator[Any] = iter(())
        self._packet: Any = None
        start = self._source.streams.video[0].start_time
        self._start = start * self._source.streams.video[0].time_base if start else Fraction(0)

    def write(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """See `FrameWriter`; an odd last row or column is cut off, other sizes are fitted."""
        import av

        if self._container is None:
            self._begin(frame)
        height, width = self._stream.height, self._stream.width
        frame = frame[:height, :width]
        if frame.shape[:2] != (height, width):
            frame = cv2.resize(frame, (width, height))
        last = self._waiting[1] if self._waiting else None
        due = self._ticks(seconds) if seconds is not None else None
        if due is None:
            due = self._ticks(0) if last is None else last + round(_TICKS / self._fps)
        if last is not None:
            due = max(due, last + 1)
            self._put(due)
        self._waiting = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24"), due

    def finish(self, seconds: float) -> None:
        """See `FrameWriter`."""
        if self._waiting is not None:
            self._put(max(self._ticks(seconds), self._waiting[1] + 1))
            self._waiting = None

    def complete(self) -> None:
        """Write what waits: the last frame, what is left of the sound, the index."""
        if self._container is None:
            return
        if self._waiting is not None:
            self._put(self._waiting[1] + round(_TICKS / self._fps))
        self._mux(None)
        self._copy_sound(None)
        self._container.close()

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()

    def _ticks(self, seconds: float) -> int:
        """The time of the source: sound keeps its own, so pictures do."""
        return round((self._start + Fraction(seconds)) * _TICKS)

    def _begin(self, frame: np.ndarray) -> None:
        import av

        self._container = av.open(self._file, "w", format="mp4")
        height, width = even_sides(frame)
        stream: Any = self._container.add_stream(_CODEC, rate=_TICKS, options=dict(_OPTIONS))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
        self._stream = stream
        sound = next(iter(self._source.streams.audio), None)
        if sound is None:
            return
        name = sound.codec_context.name
        try:
            copy = self._container.add_stream_from_template(sound)
        except ValueError:  # a codec that .mp4 has no place for
            tell_once(f"sound {name}", f"Sound: an .mp4 cannot hold {name}; it is left out.")
            return
        self._packets = self._copied(sound, copy)
        self._packet = next(self._packets, None)

    def _copied(self, sound: Any, copy: Any) -> Iterator[Any]:
        for packet in self._source.demux(sound):
            if packet.dts is not None:  # the last one says that it is over
                packet.stream = copy
                yield packet

    def _put(self, until: int) -> None:
        """Encode the frame that waits, which stands until a time, and the sound up to there."""
        assert self._waiting is not None and self._container is not None
        frame, due = self._waiting
        frame.pts, frame.time_base = due, Fraction(1, _TICKS)
        self._durations[due] = until - due
        self._mux(frame)
        self._copy_sound(Fraction(until, _TICKS))

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """Write what the encoder gives; it forgets how long the last frame stands."""
        assert self._container is not None
        for packet in self._stream.encode(frame):
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._container.mux(packet)

    def _copy_sound(self, until: Fraction | None) -> None:
        """Packets in between pictures: players read from the front."""
        assert self._container is not None
        while self._packet is not None:
            packet = self._packet
            if until is not None and packet.dts * packet.time_base > until:
                return
            self._container.mux(packet)
            self._packet = next(self._packets, None)
