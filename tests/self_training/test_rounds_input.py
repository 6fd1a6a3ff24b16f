"""What a person may get wrong when adapting a model: one line that helps, and nothing lost."""

import sys

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from stseg.config.self_training import IMAGES_NAME
from stseg.engine import train_command

from . import round_runs as runs


@pytest.fixture
def data(tmp_path):
    return runs.make_images(tmp_path / "data", count=3)


@pytest.fixture
def refused(data, tmp_path, monkeypatch):
    """Runs train_net in this process and returns the line it ends with."""
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda name: None)

    def start(changes=(), flags=(), images=data):
        argv = runs.make_argv(images, tmp_path / "run", changes, flags)
        monkeypatch.setattr(sys, "argv", ["train_net.py", *argv])
        with pytest.raises(SystemExit) as caught:
            train_command()
        line = caught.value.code
        assert line.startswith("train_net.py: ") and ": expected " in line
        return line.removeprefix("train_net.py: ")

    yield start
    if IMAGES_NAME in DatasetCatalog:
        DatasetCatalog.remove(IMAGES_NAME)
        MetadataCatalog.remove(IMAGES_NAME)


def test_an_empty_folder(refused, data):
    for path in (data / "images").iterdir():
        path.unlink()
    assert "got an empty folder" in refused()


def test_a_folder_of_other_files(refused, data):
    for path in (data / "images").iterdir():
        path.rename(path.with_suffix(".txt"))
    assert "got none among 3 files" in refused()


def test_a_folder_of_broken_images(refused, data):
    for path in (data / "images").iterdir():
        path.write_bytes(b"")
    assert "got 3 broken files" in refused()


def test_a_missing_folder(refused, data):
    (data / "images").rename(data / "elsewhere")
    assert refused().startswith("Images: expected a folder")


def test_images_without_names(refused, data):
    line = refused({"SELF_TRAINING.IMAGES": str(data / "images"), "DATASETS.TRAIN": ()})
    assert line.startswith("SELF_TRAINING.VOCABULARY: expected") and "--vocabulary" in line


def test_a_missing_names_file(refused, data):
    (data / "names.txt").unlink()
    assert "names.txt" in refused()


def test_rounds_that_would_train_unlabelled_pixels_as_no_class(refused):
    line = refused({"MODEL.LOSS.IGNORED": "negative"})
    assert line.startswith("MODEL.LOSS.IGNORED: expected 'masked'") and "Set MODEL.LOSS" in line


def test_images_for_a_config_that_trains_on_labels(refused):
    assert refused({"SELF_TRAINING.ENABLED": False}).startswith("--images: expected a config")


def test_a_veto_of_unknown_names(refused, tmp_path):
    (tmp_path / "veto.txt").write_text("class: redd\nimage: 7.png\n")
    line = refused({"SELF_TRAINING.VETO_FILE": str(tmp_path / "veto.txt")})
    assert "line 1" in line and "nearest: red" in line and "line 2" in line


def test_a_veto_of_everything(refused, tmp_path):
    (tmp_path / "veto.txt").write_text("".join(f"image: {k}.png\n" for k in range(3)))
    assert "all 3 vetoed" in refused({"SELF_TRAINING.VETO_FILE": str(tmp_path / "veto.txt")})


def test_regions_where_crops_are_labelled(refused, tmp_path):
    (tmp_path / "veto.txt").write_text("region: 0.png: 0,0 9,0 9,9: red\n")
    veto = {"SELF_TRAINING.VETO_FILE": str(tmp_path / "veto.txt")}
    line = refused({**veto, "SELF_TRAINING.ONLINE": True})
    assert line.startswith("SELF_TRAINING.VETO_FILE: expected no regions") and "got 1 in" in line


def test_a_source_set_that_nobody_knows(refused):
    line = refused({"SELF_TRAINING.SOURCE.DATASETS": ("nowhere",)})
    assert line.startswith("SELF_TRAINING.SOURCE.DATASETS: expected") and "nowhere" in line


def test_a_share_of_no_source_set(refused):
    line = refused({"SELF_TRAINING.SOURCE.FRACTION": 0.5})
    assert line.startswith("SELF_TRAINING.SOURCE.DATASETS: expected at least one")


def test_a_checkpoint_of_another_system(refused, tmp_path):
    torch.save({"model": {"layer.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    line = refused({"MODEL.WEIGHTS": str(tmp_path / "other.pth")})
    assert line.startswith("MODEL.WEIGHTS: expected weights of RoundsTestNet")


def test_a_missing_checkpoint(refused, tmp_path):
    assert "does not exist" in refused({"MODEL.WEIGHTS": str(tmp_path / "none.pth")})


@pytest.mark.parametrize(
    ("key", "told"),
    [("MODEL.WEIGHTS", "a file with trained weights"), ("MODEL.SAM.CHECKPOINT", "SAM's file")],
)
@pytest.mark.parametrize("flags", [(), ("--preview", "1"), ("--resume",)])
def test_adapting_with_nothing_learnt(refused, tmp_path, key, told, flags):
    line = refused({key: ""}, flags)
    assert line.startswith(f"{key}: expected {told}") and "'random'" in line
    assert not (tmp_path / "run").exists()


def test_a_part_of_the_weights_is_not_enough_to_adapt(refused, tmp_path):
    torch.save({"model": {"sharpness": torch.tensor(8.0)}}, tmp_path / "part.pth")
    part = {"MODEL.WEIGHTS": str(tmp_path / "part.pth"), "MODEL.PARTIAL_WEIGHTS_ENABLED": True}
    assert "tensors missing in the file (colours" in refused(part)


@pytest.mark.parametrize("pictures", [0, 1])
def test_no_class_over_the_gate_in_any_image(data, tmp_path, pictures):
    closed = {"SELF_TRAINING.GATE.THRESH": 1.0, "SELF_TRAINING.PREVIEW": pictures}
    argv = runs.make_argv(data, tmp_path / "run", closed)
    earlier = tmp_path / "run" / "self_training" / "round_01-0123456789ab"
    earlier.mkdir(parents=True)
    (earlier / "summary.json").write_text("{}")
    with runs.unchanged(earlier):
        assert runs.run_in_process(argv, tmp_path / "log") == 1
    text = (tmp_path / "log").read_text()
    line = text.rstrip().splitlines()[-1]
    assert line.startswith("train_net.py: SELF_TRAINING.GATE.THRESH: expected at least one class")
    assert "Traceback" not in text
    page = (tmp_path / "run" / "self_training" / "round_01.html").read_text()
    assert "No pixel got a label." in page and "Pixels that would pass" in page


def test_a_sam_that_finds_nothing(data, tmp_path):
    regions = {
        "SELF_TRAINING.REFINE.REGION_VOTE.ENABLED": True,
        "SELF_TRAINING.REFINE.REGION_VOTE.POINTS_PER_SIDE": 1,
    }
    argv = runs.make_argv(data, tmp_path / "run", regions)
    assert runs.run_in_process(argv, tmp_path / "log") == 1
    line = (tmp_path / "log").read_text().rstrip().splitlines()[-1]
    assert line.startswith("train_net.py: SELF_TRAINING.REFINE: expected masks for the accepted")


def test_a_fault_of_the_program_keeps_its_traceback(data, tmp_path):
    argv = runs.make_argv(data, tmp_path / "run")
    assert runs.run_in_process(argv, tmp_path / "log", (runs.programming_error,)) == 1
    text = (tmp_path / "log").read_text()
    assert "Traceback" in text and "ValueError: not ours" in text
