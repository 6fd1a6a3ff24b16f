"""OUTPUT_DIR: what an earlier run left is kept, two runs do not meet, no run resumes another."""

import multiprocessing
import os
import signal
import time

import pytest
import torch

from stseg.config import setup_cfg
from stseg.engine.run_folder import RunIdentity, locked
from tests.self_training import round_runs as runs

from . import fakes


@pytest.fixture
def run(entry, tmp_path):
    """Runs train_net.py in a process of its own; OUTPUT_DIR is tmp_path/run. Returns that folder.

    With `code` the process must end with that exit code, and what it said last is returned.
    """

    def start(*flags, opts=(), code=0, main=fakes.run):
        made = fakes.make_opts(entry, tmp_path / "run", "DATASETS.TEST", (), *opts)
        log = tmp_path / "log"
        log.write_text("")
        argv = ["--num-gpus", "0", *flags, *made]
        found = runs.finish_process(runs.start_process(argv, log, main=main))
        assert found == code, log.read_text()
        return log.read_text().rstrip().splitlines()[-1] if code else tmp_path / "run"

    return start


def refusal(run, *flags, **more):
    line = run(*flags, code=1, **more)
    assert line.startswith("train_net.py: ")
    return line.removeprefix("train_net.py: ")


def weights(path):
    return torch.load(path, weights_only=True)["model"]["head.weight"]


def test_a_new_run_moves_aside_what_an_earlier_one_left_and_says_so(run):
    folder = run("--resume")  # nothing there to resume
    (folder / "notes.txt").write_text("mine")
    (folder / "self_training" / "preview").mkdir(parents=True)
    first = weights(folder / "model_final.pth")
    metrics = (folder / "metrics.json").read_bytes()
    run(opts=("SEED", 9))
    aside = folder / "previous_01"
    assert torch.equal(weights(aside / "model_final.pth"), first)
    assert (aside / "metrics.json").read_bytes() == metrics
    assert "SEED: 0" in (aside / "config.yaml").read_text()
    assert not torch.equal(weights(folder / "model_final.pth"), first)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "self_training" / "preview").is_dir()
    assert f"lies in {aside} now" in (folder / "log.txt").read_text()
    run(opts=("SEED", 10))
    assert torch.equal(weights(aside / "model_final.pth"), first)
    assert (folder / "previous_02" / "model_final.pth").is_file()


def test_what_a_new_run_starts_from_is_not_moved_away(run):
    folder = run()
    before = (folder / "model_final.pth").read_bytes()
    text = refusal(run, opts=("MODEL.WEIGHTS", str(folder / "model_final.pth")))
    assert text.startswith("OUTPUT_DIR: expected another folder than that of MODEL.WEIGHTS")
    assert (folder / "model_final.pth").read_bytes() == before


def test_resuming_after_a_new_run_was_killed_does_not_take_the_old_ones_checkpoint(run):
    run()
    longer = ("SOLVER.MAX_ITER", 4)
    run(opts=longer, code=1, main=fakes.stop_in_the_first_step)
    text = refusal(run, "--resume", opts=longer)
    assert text.startswith("--resume: expected a checkpoint in OUTPUT_DIR")
    assert "stopped before its first one" in text and "previous_01. Start anew" in text
    folder = run(opts=longer)
    assert (folder / "log.txt").read_text().count("Starting training from iteration 0") == 2
    assert (folder / "previous_01" / "model_final.pth").is_file()
    assert not (folder / "previous_02").exists()


def test_a_run_killed_before_its_first_checkpoint_is_begun_again_by_resuming(run):
    run(code=1, main=fakes.stop_in_the_first_step)
    log = (run("--resume") / "log.txt").read_text()
    assert "holds no checkpoint, the run starts anew" in log


def test_a_run_of_other_settings_is_not_resumed_but_a_longer_one_is(run, entry, tmp_path):
    run()
    text = refusal(run, "--resume", opts=("SEED", 9))
    assert text.startswith("--resume: expected the run that OUTPUT_DIR holds, got another: ")
    assert "SEED 0 there and 9 now" in text
    folder = run("--resume", opts=("SOLVER.MAX_ITER", 5, "SOLVER.BASE_LR", 0.02))
    assert "Starting training from iteration 3" in (folder / "log.txt").read_text()
    assert not (folder / "previous_01").exists()


def test_images_and_data_sets_belong_to_a_runs_identity():
    one = RunIdentity(setup_cfg(opts=["DATASETS.TRAIN", "('a',)"]))
    one.load_state_dict(one.state_dict())
    one.load_state_dict({})  # a checkpoint of before
    other = RunIdentity(setup_cfg(opts=["DATASETS.TRAIN", "('b',)"]))
    with pytest.raises(ValueError, match=r"DATASETS.TRAIN \['a'\] there and \['b'\] now"):
        other.load_state_dict(one.state_dict())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("DATASETS.TRAIN", ("b",)),
        ("MODEL.META_ARCHITECTURE", "Other"),
        ("SEED", 9),
        ("SELF_TRAINING.ENABLED", True),
        ("SELF_TRAINING.IMAGES", "elsewhere"),
        ("SELF_TRAINING.VOCABULARY", "cat"),
    ],
)
def test_each_key_of_a_runs_identity_tells_two_runs_apart(key, value):
    cfg = setup_cfg(opts=["DATASETS.TRAIN", "('a',)"]).clone()
    one = RunIdentity(cfg)
    cfg.defrost()
    cfg.merge_from_list([key, value])
    with pytest.raises(ValueError, match=f"got another: {key} [^;]* now. Give the settings"):
        RunIdentity(cfg).load_state_dict(one.state_dict())


def test_nothing_to_resume_is_a_warning_in_training_and_an_error_in_evaluation(run, tmp_path):
    folder = run("--resume")
    assert "WARNING" in (folder / "log.txt").read_text().split("holds no checkpoint")[0][-400:]
    wrong = ("OUTPUT_DIR", str(tmp_path / "mistyped"), "MODEL.WEIGHTS", "random")
    text = refusal(run, "--eval-only", "--resume", opts=wrong)
    assert text.startswith("--resume: expected a run's checkpoint in OUTPUT_DIR")
    assert not (tmp_path / "mistyped").exists()


def test_an_evaluation_without_weights_is_refused(run):
    text = refusal(run, "--eval-only")
    assert text.startswith("MODEL.WEIGHTS: expected a file with trained weights, got none.")


def test_an_evaluation_leaves_the_config_of_the_run(run):
    folder = run()
    before = (folder / "config.yaml").read_text()
    run("--eval-only", "--resume", opts=("INPUT.MIN_SIZE_TEST", 16))
    assert (folder / "config.yaml").read_text() == before
    assert "MIN_SIZE_TEST: 16" in (folder / "config_eval.yaml").read_text()


def _hold(folder, pipe):
    with locked(folder):
        pipe.send("held")
        time.sleep(60)


@pytest.fixture
def held(tmp_path):
    """A folder that another process holds, and that process."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_hold, args=(str(tmp_path / "run"), theirs))
    process.start()
    assert ours.recv() == "held"
    yield tmp_path / "run", process
    process.kill()
    process.join()


@pytest.mark.parametrize("flags", [(), ("--resume",), ("--eval-only",)])
def test_a_folder_in_use_is_refused_and_the_user_told_by_whom(run, held, flags):
    folder, process = held
    before = sorted(folder.iterdir())
    text = refusal(run, *flags, opts=("MODEL.WEIGHTS", "random"))
    assert text.startswith("OUTPUT_DIR: expected a folder that no other run is using, got ")
    assert f"process {process.pid} on " in text
    assert sorted(folder.iterdir()) == before


def test_a_killed_run_leaves_its_folder_open(run, held):
    folder, process = held
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (run() / "model_final.pth").is_file()
