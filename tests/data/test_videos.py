"""Every frame that can be read, at its time, and a word on the others."""

import os

import numpy as np
import pytest

from stseg.data.opening import BrokenFileError
from stseg.data.videos import (
    DamagedVideoError,
    look_at_video,
    open_video,
    rate_of,
    read_video,
    video_frames,
    video_size,
)
from tests.helpers.films import damaged_film


def test_video_is_written_and_read_back(tmp_path):
    path = tmp_path / "v.mp4"
    frames = [np.full((31, 48, 3), (250, 20, 20 + 40 * i), dtype=np.uint8) for i in range(4)]
    with open_video(path, 10.0) as video:
        for frame in frames:
            video.write(frame)
        assert not path.exists()
    read = list(video_frames(path))
    assert len(read) == 4 and read[0].shape == (30, 48, 3)
    assert abs(read[3].mean(axis=(0, 1)) - frames[3][0, 0]).max() < 25  # lossy, but red is red
    assert video_size(path) == (4, 10.0)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_broken_video_is_named(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(BrokenFileError, match="broken.mp4"):
        list(video_frames(path))
    assert video_size(path) == (0, 25.0)


def test_the_videos_that_are_written_are_those_that_browsers_play(tmp_path):
    with open_video(tmp_path / "v.mp4", 10.0) as video:
        video.write(np.zeros((32, 48, 3), np.uint8))
    assert b"vp09" in (tmp_path / "v.mp4").read_bytes()


@pytest.mark.parametrize("holes", [[4], [4, 5], [2, 7]])
def test_frames_after_a_damaged_one_are_read_at_their_times_and_it_is_told(tmp_path, holes):
    path = damaged_film(tmp_path, 10, holes)
    kept, found = [n for n in range(10) if n not in holes], []
    with pytest.raises(DamagedVideoError, match=rf"film\.avi.* 10 frames, got {len(kept)} that"):
        for frame in read_video(path):
            found.append((frame.number, round(frame.pixels.mean() / 6), frame.seconds))
    assert [level for _, level, _ in found] == [number for number, *_ in found] == kept
    assert np.allclose([seconds for *_, seconds in found], [n / 10 for n in kept])
    assert look_at_video(path).frames == len(kept)
    assert look_at_video(path).seconds == pytest.approx(1.0)


@pytest.mark.parametrize("suffix", [".avi", ".webm"])
def test_a_video_that_is_cut_off_is_told(tmp_path, suffix):
    path = damaged_film(tmp_path, 40, keep=0.6, suffix=suffix)
    found = []
    with pytest.raises(DamagedVideoError, match="expected 40 frames"):
        found.extend(read_video(path))
    assert 5 < len(found) < 35


@pytest.mark.parametrize("suffix", [".avi", ".webm", ".mp4"])
def test_a_whole_video_is_no_damaged_one(tmp_path, suffix):
    path = damaged_film(tmp_path, 20, suffix=suffix)
    assert [frame.number for frame in read_video(path)] == list(range(20))
    facts = look_at_video(path)
    assert (facts.frames, facts.fps) == (20, 10.0) and facts.seconds == pytest.approx(2.0)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name, kind in (("pipe", "a pipe"), ("folder", "a folder")):
        for look in (look_at_video, lambda path: list(read_video(path)), video_size):
            with pytest.raises(BrokenFileError, match=rf"{name}\.mp4: expected.* got {kind}"):
                look(tmp_path / f"{name}.mp4")


def test_frames_stand_until_the_next_is_due(tmp_path):
    times = [0.0, 0.1, 0.5, 0.6]
    with open_video(tmp_path / "v.mp4", 10.0) as video:
        for number, seconds in enumerate(times):
            video.write(np.full((32, 48, 3), 60 * number, np.uint8), seconds)
        video.finish(0.9)
    shown = [round(frame.mean() / 60) for frame in video_frames(tmp_path / "v.mp4")]
    assert shown == [0, 1, 1, 1, 1, 2, 3, 3, 3]


def test_the_rate_that_is_written_has_a_place_for_every_frame():
    assert rate_of([k / 29.97 for k in range(9)], 29.97) == 29.97
    assert rate_of([0, 0.1, 0.2, 0.5, 0.6], 10.0) == 10.0  # frames are missing
    bursts = [k + j / 30 for k in range(5) for j in range(3)]
    assert rate_of(bursts, 3.0) == pytest.approx(30)
    assert rate_of([0.0], 12.0) == 12.0


def test_names_that_are_not_utf_8_are_read_and_written(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with open_video(folder / "v.mp4", 10.0) as video:
        for number in range(3):
            video.write(np.full((32, 48, 3), 60 * number, np.uint8))
    assert look_at_video(folder / "v.mp4").frames == 3
    assert len(list(read_video(folder / "v.mp4"))) == 3
    assert [p.name for p in folder.iterdir()] == ["v.mp4"]
