"""Every frame that can be read, at its time, and a word on the others."""


import numpy as np
import pytest

from stseg.data.opening import BrokenFileError
from stseg.data.videos import (
    open_video,
    video_frames,
    video_size,
)


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
