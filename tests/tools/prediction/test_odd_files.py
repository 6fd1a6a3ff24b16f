"""What people have in their folders ends no batch, and nothing wrong ends with exit code 0."""

import io
import json
import os
import sys
from contextlib import redirect_stdout
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image

from stseg.data import sound_video
from stseg.data.videos import video_frames, video_size
from stseg.exports import EXPORT_KINDS
from stseg.structures import Segmentation
from tests.helpers.colour_net import COLOURS, ColourTestNet
from tests.helpers.films import damaged_film
from tests.helpers.prediction_runs import CONFIG, outputs, run


def test_names_that_are_no_text_are_told_and_saved_and_exported(workspace, capsys, monkeypatch):
    photos = workspace / "photos"
    (photos / "one.jpg").rename(photos / os.fsdecode(b"caf\xe9.jpg"))
    more = ["--save", f"labels,json,overlay,{','.join(EXPORT_KINDS)}"]
    assert run(workspace, "", more=more) == 0
    text = capsys.readouterr().out
    text.encode("utf-8")  # escaped, or this raises
    assert "[1/2] caf" in text and "2 of 2 files done" in text
    stem = os.fsdecode(b"caf\xe9")
    assert Segmentation.load(workspace / "out" / f"{stem}.json").label_map.shape == (30, 40)
    for file in (workspace / "out").rglob("*"):
        if file.suffix in (".json", ".xml", ".txt", ".yaml"):
            file.read_text(encoding="utf-8")
    names = json.loads((workspace / "out" / "coco" / "annotations.json").read_text())["images"]
    assert names[0]["file_name"] == f"{stem}.jpg"
    xml = ElementTree.parse(workspace / "out" / "cvat" / "annotations.xml")
    assert len(xml.findall("image")) == 2


def test_a_screen_of_few_letters_ends_nothing(workspace):
    (workspace / "photos" / "one.jpg").rename(workspace / "photos" / "日本.jpg")
    buffer = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(buffer, encoding="ascii", errors="strict")):
        assert run(workspace, "") == 0
        sys.stdout.flush()
        assert b"2 of 2 files done" in buffer.getvalue()


SHORT_OF_MEMORY = [
    MemoryError("Unable to allocate 3.0 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    cv2.error("OpenCV: Insufficient memory"),
]


@pytest.mark.parametrize("error", SHORT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("batch", [1, 2])
def test_an_image_without_room_is_told_with_its_size_and_the_others_are_done(
    workspace, capsys, monkeypatch, error, batch
):
    inference = ColourTestNet.forward

    def forward(self, inputs):
        if any(x["height"] == 30 for x in inputs):
            raise error
        return inference(self, inputs)

    monkeypatch.setattr(ColourTestNet, "forward", forward)
    assert run(workspace, "", more=["--batch", str(batch)]) == 1
    captured = capsys.readouterr()
    assert "one.jpg: expected memory for 40 x 30 pixels" in captured.err
    assert "1 of 2 files done" in captured.out and "two.png" in outputs(workspace)


def test_another_fault_of_the_program_is_not_hidden(workspace, monkeypatch):
    def forward(self, inputs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(ColourTestNet, "forward", forward)
    with pytest.raises(RuntimeError, match="a bug"):
        run(workspace, "one.jpg")


def test_a_pipe_among_the_photographs_is_named_and_the_others_are_done(workspace, capsys):
    os.mkfifo(workspace / "photos" / "pipe.png")
    os.mkfifo(workspace / "photos" / "pipe.mp4")
    assert run(workspace, "") == 1
    captured = capsys.readouterr()
    assert captured.err.count("expected a file, got a pipe") == 2
    assert "2 of 4 files done" in captured.out


@pytest.mark.parametrize("with_av", [False, True])
def test_a_video_with_a_hole_gives_the_other_frames_the_whole_length_and_exit_code_1(
    workspace, capsys, monkeypatch, with_av
):
    if with_av:
        av = pytest.importorskip("av", reason="the extra video is not installed: make env-dev")
    monkeypatch.setattr(sound_video, "is_installed", lambda name: with_av)
    damaged_film(workspace / "photos", 10, holes=[4])
    assert run(workspace, "film.avi") == 1
    captured = capsys.readouterr()
    assert "INCOMPLETE" in captured.out and "expected 10 frames, got 9" in captured.err
    out = workspace / "out"
    assert len(list(out.glob("film_*.json"))) == 9
    assert not (out / "film_000004.json").exists() and (out / "film_000009.json").exists()
    overlay = out / "film_overlay.mp4"
    if with_av:  # the frame before stands for two
        assert len(list(video_frames(overlay))) == 9
        with av.open(str(overlay)) as film:
            assert film.duration / av.time_base == pytest.approx(1, abs=0.02)
    else:
        assert len(list(video_frames(overlay))) == 10
        assert video_size(overlay) == (10, 10.0)
    assert run(workspace, "film.avi", more=["--resume"]) == 1


def test_of_an_animation_the_first_frame_is_segmented_and_it_is_told(workspace, caplog):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(workspace / "photos" / "a.gif", save_all=True, append_images=frames[1:])
    assert run(workspace, "a.gif") == 0
    assert "got 2 frames" in caplog.text


@pytest.mark.parametrize("shape", [(1, 9000), (9000, 1), (1, 70000)])
def test_a_line_scan_is_segmented(workspace, shape):
    (workspace / "tiny.yaml").write_text(CONFIG.replace("MIN_SIZE_TEST: 0", "MIN_SIZE_TEST: 640"))
    pixels = np.full((*shape, 3), COLOURS["red"], dtype=np.uint8)
    Image.fromarray(pixels).save(workspace / "photos" / "line.png")
    assert run(workspace, "line.png") == 0
    assert Segmentation.load(workspace / "out" / "line.json").label_map.shape == shape
    Image.open(workspace / "out" / "line_overlay.jpg").load()
