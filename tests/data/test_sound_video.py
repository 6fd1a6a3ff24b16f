"""Times and sound of a source in the video about it."""

from fractions import Fraction

import numpy as np
import pytest

from stseg.data import opening, sound_video
from stseg.data.sound_video import open_video_about
from stseg.data.videos import look_at_video, open_video, read_video

av = pytest.importorskip("av", reason="av (stseg[video]) is not installed")

TIMES = [0.0, 0.1, 0.5, 0.6, 1.4]


def source(path, sound="aac"):
    """Frames at uneven times, and a tone."""
    with av.open(str(path), "w") as film:
        video = film.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 100)
        audio = film.add_stream(sound, rate=16_000, layout="mono") if sound else None
        for number, seconds in enumerate(TIMES):
            pixels = np.full((32, 48, 3), 50 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = round(seconds * 100), Fraction(1, 100)
            film.mux(video.encode(frame))
        film.mux(video.encode(None))
        if audio is not None:
            tone = np.sin(np.arange(24_000) / 8).astype(np.float32)[None]
            for start in range(0, 24_000 - 1023, 1024):
                part = av.AudioFrame.from_ndarray(tone[:, start : start + 1024], "fltp", "mono")
                part.sample_rate, part.pts = 16_000, start
                film.mux(audio.encode(part))
            film.mux(audio.encode(None))
    return path


def sound_of(path):
    with av.open(str(path)) as film:
        packets = [p for p in film.demux(audio=0) if p.dts is not None]
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets]


def copy(path, about):
    with open_video_about(path, about, 10.0) as video:
        for frame in read_video(about):
            video.write(frame.pixels, frame.seconds)
        assert not path.exists()
        video.finish(look_at_video(about).seconds)


def test_times_are_the_sources_and_sound_is_the_same_to_the_bit(tmp_path):
    film, about = source(tmp_path / "film.mp4"), tmp_path / "about.mp4"
    assert [frame.seconds for frame in read_video(film)] == pytest.approx(TIMES, abs=0.011)
    copy(about, film)
    with av.open(str(about)) as written:
        frames = list(written.decode(video=0))
        assert written.streams.video[0].codec_context.name == "vp9"
    assert [frame.time for frame in frames] == pytest.approx(TIMES, abs=0.011)
    levels = [frame.to_ndarray(format="rgb24").mean() for frame in frames]
    assert levels == pytest.approx([50 * n for n in range(5)], abs=8)
    (before, after) = sound_of(film), sound_of(about)
    assert [packet for _, packet in after] == [packet for _, packet in before]
    assert [at for at, _ in after] == pytest.approx([at for at, _ in before], abs=0.001)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["about.mp4", "film.mp4"]


def test_a_silent_source_gives_a_silent_video(tmp_path):
    film, about = source(tmp_path / "film.mp4", sound=""), tmp_path / "about.mp4"
    copy(about, film)
    with av.open(str(about)) as written:
        assert not written.streams.audio and len(list(written.decode(video=0))) == len(TIMES)


def test_nothing_stays_where_it_fails(tmp_path):
    film, about = source(tmp_path / "film.mp4"), tmp_path / "about.mp4"
    with pytest.raises(FloatingPointError):
        with open_video_about(about, film, 10.0) as video:
            video.write(np.zeros((32, 48, 3), np.uint8), 0.0)
            raise FloatingPointError
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_pictures_are_turned_as_players_turn_them(tmp_path):
    """By the matrix of the track header (ISO/IEC 14496-12, 8.3.2), here of 90 degrees."""
    film = tmp_path / "film.mp4"
    with open_video(film, 10.0) as video:
        pixels = np.zeros((32, 48, 3), np.uint8)
        pixels[:, :24] = 255
        video.write(pixels)
    content = bytearray(film.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30]
    content[at : at + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in matrix)
    film.write_bytes(content)
    (frame,) = read_video(film)
    assert frame.pixels.shape == (48, 32, 3)
    assert frame.pixels[:20].mean() > 200 and frame.pixels[28:].mean() < 50


def test_without_pyav_what_is_lost_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sound_video, "is_installed", lambda name: False)
    monkeypatch.setattr(opening, "_told", set())
    film, about = source(tmp_path / "film.mp4"), tmp_path / "about.mp4"
    copy(about, film)
    assert "without sound" in caplog.text and "pip install 'stseg[video]'" in caplog.text
    with av.open(str(about)) as written:
        assert not written.streams.audio
    assert look_at_video(about).seconds == pytest.approx(look_at_video(film).seconds, abs=0.2)
