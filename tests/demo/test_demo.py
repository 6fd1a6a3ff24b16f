import json

import numpy as np
import pytest
import torch
from PIL import Image

from demo import demo
from demo.demo import main
from stseg.data.media import open_video
from tests.helpers.colour_net import COLOURS, ColourTestNet

CONFIG = """
MODEL: {META_ARCHITECTURE: ColourTestNet, WEIGHTS: random, DEVICE: cpu}
INPUT: {MIN_SIZE_TEST: 0}
"""


@pytest.fixture
def workspace(tmp_path):
    """A config, and two good pictures of different size in `photos`."""
    assert ColourTestNet  # importing it registers it
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "photos").mkdir()
    for name, size in (("one.jpg", (30, 40)), ("two.png", (20, 20))):
        pixels = np.full((*size, 3), COLOURS["red"], dtype=np.uint8)
        pixels[:10] = COLOURS["blue"]
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    return tmp_path


def run(workspace, *inputs, vocabulary="red; blue", more=()):
    paths = [str(workspace / "photos" / text) for text in inputs]
    return main(
        ["--config-file", str(workspace / "tiny.yaml"), "--output", str(workspace / "out")]
        + ["--vocabulary", vocabulary, *more, "--input", *paths]
    )


def outputs(workspace):
    return sorted(p.name for p in (workspace / "out").glob("*"))


def test_a_folder_gives_three_readable_files_per_picture(workspace, capsys):
    assert run(workspace, "") == 0
    assert outputs(workspace) == [
        f"{stem}{end}" for stem in ("one", "two") for end in (".json", ".png", "_overlay.jpg")
    ]
    labels = np.asarray(Image.open(workspace / "out" / "two.png"))
    assert labels[0, 0] == 1 and labels[-1, -1] == 0
    content = json.loads((workspace / "out" / "two.json").read_text())
    assert [c["area_share"] for c in content["classes"]] == [0.5, 0.5]
    Image.open(workspace / "out" / "two_overlay.jpg").load()
    text = capsys.readouterr().out
    assert "[2/2] two.png: " in text and "2 of 2 files done" in text


def test_broken_pictures_are_named_skipped_and_tell_in_the_exit_code(workspace, capsys):
    photos = workspace / "photos"
    good = (photos / "one.jpg").read_bytes()
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "cut.jpg").write_bytes(good[: len(good) // 2])
    (photos / "text.png").write_text("hello")
    (photos / "film.mp4").write_bytes(b"no film")
    assert run(workspace, "") == 1
    captured = capsys.readouterr()
    for name in ("empty.jpg", "cut.jpg", "text.png", "film.mp4"):
        assert any(name in line for line in captured.err.splitlines() if "failed:" in line)
    assert "2 of 6 files done" in captured.out
    assert len(outputs(workspace)) == 6


def test_inputs_of_one_stem_do_not_overwrite_each_other(workspace):
    Image.new("RGB", (8, 8), "red").save(workspace / "photos" / "one.png")
    assert run(workspace, "one.jpg", "one.png") == 0
    assert {"one.png", "one-2.png"} <= set(outputs(workspace))


def test_video_gives_frames_and_an_overlay_video(workspace):
    with open_video(workspace / "photos" / "film.mp4", 5.0) as video:
        for colour in ("red", "blue", "green"):
            video.write(np.full((32, 32, 3), COLOURS[colour], dtype=np.uint8))
    more = ("--background", "threshold=0.8")
    assert run(workspace, "film.mp4", vocabulary="red; blue", more=more) == 0
    names = outputs(workspace)
    assert "film_overlay.mp4" in names and "film_000002.json" in names
    assert len(names) == 1 + 3 * 3
    unknown = json.loads((workspace / "out" / "film_000002.json").read_text())
    assert unknown["unknown_share"] == 1.0


@pytest.mark.parametrize(("policy", "listed"), [("threshold=0.8", [0, 1, -1]), ("none", [0, 1])])
def test_frames_of_a_video_list_the_same_classes(workspace, monkeypatch, policy, listed):
    with open_video(workspace / "photos" / "film.mp4", 5.0) as video:
        for colour in ("red", "green"):
            video.write(np.full((32, 32, 3), COLOURS[colour], dtype=np.uint8))
    seen, draw = [], demo.draw_overlay
    monkeypatch.setattr(
        demo, "draw_overlay", lambda *a, **k: seen.append(list(k["legend_ids"])) or draw(*a, **k)
    )
    assert run(workspace, "film.mp4", more=("--background", policy)) == 0
    assert seen == [listed] * 2


def test_distractors_and_names_from_a_file(workspace):
    (workspace / "names.txt").write_text("red\n# no comment\ngreen\n")
    more = ("--background", "distractors=blue")
    assert run(workspace, "two.png", vocabulary=str(workspace / "names.txt"), more=more) == 0
    labels = np.asarray(Image.open(workspace / "out" / "two.png"))
    assert labels[0, 0] == 255 and labels[-1, -1] == 0


def test_commas_where_semicolons_were_meant_are_pointed_out(workspace, capsys):
    assert run(workspace, "two.png", vocabulary="red, blue, green") == 0
    assert "synonyms of ONE class" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, says",
    [
        ({"vocabulary": ""}, "at least one class"),
        ({"vocabulary": "red;;blue"}, "class 2"),
        ({"vocabulary": "missing.txt"}, "missing.txt"),
        ({"more": ("--background", "threshold=1.5")}, "threshold"),
        ({"more": ("--background", "sometimes")}, "Background"),
        ({"more": ("--weights", "nowhere.pth")}, "nowhere.pth"),
        ({"more": ("--config-file", "nowhere.yaml")}, "nowhere.yaml"),
    ],
)
def test_wrong_use_ends_with_a_message_and_code_2(workspace, capsys, change, says):
    with pytest.raises(SystemExit) as stop:
        run(workspace, "two.png", **change)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
    assert not (workspace / "out").exists()


@pytest.mark.parametrize("opts", [["MODEL.NO_SUCH_KEY", "1"], ["MODEL.DEVICE"]])
def test_unknown_config_key_is_named(workspace, capsys, opts):
    arguments = ["--config-file", str(workspace / "tiny.yaml"), "--vocabulary", "red"]
    arguments += ["--input", str(workspace / "photos"), "--opts", *opts]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and opts[0] in capsys.readouterr().err


def test_wrong_checkpoint_is_named(workspace, capsys):
    path = workspace / "other.pth"
    torch.save({"model": {"other.weight": torch.zeros(2)}}, path)
    with pytest.raises(SystemExit) as stop:
        run(workspace, "two.png", more=("--weights", str(path)))
    assert stop.value.code == 2 and "other.weight" in capsys.readouterr().err


def test_no_input_and_an_output_folder_among_the_inputs_are_refused(workspace, capsys):
    with pytest.raises(SystemExit):
        run(workspace, "*.webp")
    assert "webp" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(workspace, "two.png", more=("--output", str(workspace / "photos")))
    assert "another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("{}/photos/two.png", "photos"),
        ("photos/two.png", "{}/photos"),
        ("photos/two.png", "photos/../photos"),
        ("photos/two.png", "link"),
        ("link/two.png", "photos"),
    ],
)
def test_an_output_folder_is_among_the_inputs_however_it_is_written(
    workspace, monkeypatch, source, output
):
    monkeypatch.chdir(workspace)
    (workspace / "link").symlink_to("photos")
    before = (workspace / "photos" / "two.png").read_bytes()
    paths = [text.format(workspace) for text in (source, output)]
    with pytest.raises(SystemExit) as stop:
        main(
            ["--config-file", "tiny.yaml", "--vocabulary", "red"]
            + ["--input", paths[0], "--output", paths[1]]
        )
    assert stop.value.code == 2
    assert (workspace / "photos" / "two.png").read_bytes() == before


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "examples:" in capsys.readouterr().out
