import pytest

from stseg.config import setup_cfg
from stseg.engine import parse_args
from stseg.utils import config_names

KEYS = ["SOLVER.BASE_LR", "1e-3", "TEST.EVAL_PERIOD", "-1"]


@pytest.mark.parametrize("at", range(0, 9, 2))
def test_flags_may_stand_before_between_and_after_keys_and_values(at):
    argv = [*KEYS, "MODEL.SAM.CHECKPOINT", "random", "OUTPUT_DIR", "out"]
    flags = ["--config", "stseg_mini", "--resume", "--num-gpus", "0"]
    args = parse_args([*argv[:at], *flags, *argv[at:]])
    assert args.opts == argv and args.resume and args.config_file == "stseg_mini"


def test_negative_numbers_are_values_however_they_are_written():
    assert parse_args(["A.B", "-1e-4", "--num-gpus", "0", "C", "-.5"]).opts[1::2] == [
        "-1e-4",
        "-.5",
    ]


def test_a_slip_in_a_flag_is_no_key(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_args([*KEYS, "--rezume"])
    assert "--rezume" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        parse_args([*KEYS, "OUTPUT_DIR"])
    assert "expected pairs of a key and a value, got" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["", "train", "adapt", "evaluate"])
def test_every_task_gives_what_a_run_asks_for(task):
    what = ["photos", "a; b"] if task == "adapt" else []
    config = ["--config", "stseg_mini"] if task in ("train", "evaluate") else []
    args = parse_args(
        [*what, *config, "--weights", "stseg-mini", "--output", "out", *KEYS], task=task
    )
    assert args.opts == [*KEYS, "MODEL.WEIGHTS", "weights://stseg-mini", "OUTPUT_DIR", "out"]
    assert (args.images, args.vocabulary) == (tuple(what) or ("", ""))
    assert args.eval_only == (task == "evaluate")
    assert (args.calibrate, args.preview, args.dry_run, args.data) == ("", 0, 0, [])
    default = {"": "", "adapt": "stseg/adapt_folder"}
    assert args.config_file == default.get(task, "stseg_mini")


def test_a_task_has_no_flags_of_another(capsys):
    for task, flag in (("train", "--calibrate"), ("evaluate", "--dry-run"), ("adapt", "--images")):
        with pytest.raises(SystemExit, match="2"):
            parse_args([flag, "1", "x", "y"], task=task)
        assert flag in capsys.readouterr().err


def test_weights_that_are_a_file_are_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stseg-mini").write_text("")
    assert parse_args(["--weights", "stseg-mini"]).opts == ["MODEL.WEIGHTS", "stseg-mini"]


def test_the_default_of_adaptation_is_a_config_that_adapts():
    assert "stseg/adapt_folder" in config_names()
    assert setup_cfg("stseg/adapt_folder").SELF_TRAINING.ENABLED


@pytest.mark.parametrize("task", ["train", "evaluate"])
def test_without_a_config_those_that_ship_are_named(task, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_args(KEYS, task=task)
    text = capsys.readouterr().err
    assert "--config: expected a YAML file" in text and "stseg/sed_convnextB_768" in text
