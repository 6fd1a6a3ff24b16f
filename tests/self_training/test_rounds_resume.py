"""Runs that are cut off at a boundary between rounds, or within one, and resumed."""

import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from . import round_runs as runs

# Checkpoints fall within rounds and on boundaries, lines of metrics.json on neither. Training makes
# the model surer, so that the guard keeps it and the end is not simply the start.
CHANGES = {
    "SELF_TRAINING.GUARD.MIN_CHANGE": 0.0,
    "SELF_TRAINING.GUARD.MIN_SCORE": -10.0,
    "SELF_TRAINING.ROUND_ITERS": 3,
    "SELF_TRAINING.ROUND_WARMUP": 0.0,  # or there would be little of a round
    "SOLVER.BASE_LR": 0.3,
    "SOLVER.CHECKPOINT_PERIOD": 2,
    "SOLVER.CHECKPOINTS_KEPT": 0,
    "SOLVER.EMA.ENABLED": True,
    "SOLVER.EMA.DECAY": 0.5,
    "SOLVER.LOG_PERIOD": 4,
    "SOLVER.LR_MULTIPLIERS": [["colours", 0.01]],
}
HOOK = "stseg.self_training.hook:SamPseudoLabelHook"
RECORD = "stseg.self_training.store_records:ImageRecord"
TRAINER = "stseg.engine.trainer:Trainer"
# Where a run is killed; each round labels four images.
POINTS = {
    "training": (runs.kill_in, "training step", 5),
    "predicting": (runs.kill_at, "stseg.self_training.dataset_labeler", "predict", 8),
    "refining": (runs.kill_at, "stseg.self_training.refiner:SamRefiner", "refine", 6),
    "writing": (runs.kill_at, RECORD, "encode", 6),
    "before the second checkpoint": (runs.kill_at, TRAINER, "save_checkpoint", 1),
    "after it": (runs.kill_at, HOOK, "_tidy", 1),
    "labelling for round 1": (runs.kill_at, RECORD, "encode", 2),
}
# One of them stands for all in the default run.
KILLED = [pytest.param(p, marks=() if p == "writing" else pytest.mark.slow) for p in POINTS]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = runs.make_images(tmp_path_factory.mktemp("rounds") / "data", count=4)
    (folder / "images" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def whole(data):
    folder = data.parent / "whole"
    assert runs.run_in_process(runs.make_argv(data, folder, CHANGES), data.parent / "log") == 0
    return folder


@pytest.fixture(scope="module")
def condemned(data):
    """The second round is rolled back, and again when it is tried once more."""
    folder = data.parent / "condemned"
    argv = runs.make_argv(data, folder, CHANGES)
    patch = (runs.condemn_round, 2, 3)
    assert runs.run_in_process(argv, data.parent / "log", patch) == 0
    return folder


def resume(data, folder, log, *patches):
    argv = runs.make_argv(data, folder, CHANGES, flags=["--resume"])
    assert runs.run_in_process(argv, log, *patches) == 0, log.read_text()


def test_a_run_that_gains_is_kept_and_its_averages_make_the_labels(whole, data):
    content = runs.rounds(whole)
    assert content["verdict"] == "adapted"
    assert [(r["round"], r["harmful"]) for r in content["rounds"]] == [(1, False), (2, False)]
    assert len(runs.labels(whole)) == 8
    assert "broken.png" in (whole / "log.txt").read_text()
    boundary = runs.load(whole / "model_0000002.pth")
    assert runs.differences(boundary["model"]["sharpness"], boundary["ema"]["sharpness"])
    assert runs.digest({**boundary["model"], **boundary["ema"]}) == content["rounds"][1]["labels"]
    assert [line["iteration"] for line in runs.metrics(whole)] == [2, 3, 5]


@pytest.mark.parametrize("point", KILLED)
def test_a_run_killed_at_any_point_ends_like_one_that_was_not(point, data, whole, tmp_path):
    folder, log = tmp_path / "killed", tmp_path / "log"
    argv = runs.make_argv(data, folder, CHANGES)
    assert runs.run_in_process(argv, log, POINTS[point]) == -signal.SIGKILL, log.read_text()
    resume(data, folder, log)
    runs.assert_same_end(folder, whole)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [1, 2])
@pytest.mark.parametrize("resumed", [1, 2])
def test_labels_cut_off_with_some_processes_are_gone_on_with_by_others(
    killed, resumed, data, whole, tmp_path
):
    folder, log = tmp_path / "killed", tmp_path / "log"
    argv = runs.make_argv(data, folder, CHANGES)
    start = {1: lambda *args: [runs.run_in_process(*args)], 2: runs.run_in_two_processes}
    codes = start[killed](argv, log, POINTS["labelling for round 1"])
    assert -signal.SIGKILL in codes and 0 not in codes, log.read_text()
    assert len(runs.labels(folder)) in range(1, 4)
    argv = runs.make_argv(data, folder, CHANGES, flags=["--resume"])
    assert start[resumed](argv, log) == [0] * resumed, log.read_text()
    if resumed == 1:
        runs.assert_same_end(folder, whole)
    else:  # sums of two processes differ from those of one in the last digits, in training
        found, wanted = (
            {k: v for k, v in runs.labels(f).items() if k.startswith("round_01")}
            for f in (folder, whole)
        )
        assert found == wanted and len(runs.labels(folder)) == 8


@pytest.mark.slow
def test_two_processes_killed_at_any_place_of_a_round_end_like_two_that_were_not(data, tmp_path):
    folders = [tmp_path / name for name in ("killed", "whole")]
    argvs = [runs.make_argv(data, folder, CHANGES) for folder in folders]
    assert runs.run_in_two_processes(argvs[1], tmp_path / "log") == [0, 0]
    for point in ("training", "before the second checkpoint"):
        shutil.rmtree(folders[0], ignore_errors=True)
        codes = runs.run_in_two_processes(argvs[0], tmp_path / "log", POINTS[point])
        assert -signal.SIGKILL in codes and 0 not in codes
        again = runs.make_argv(data, folders[0], CHANGES, flags=["--resume"])
        assert runs.run_in_two_processes(again, tmp_path / "log") == [0, 0]
        runs.assert_same_end(*folders)


def test_a_disk_that_fills_up_is_one_line_and_the_run_goes_on_when_there_is_room(
    data, whole, tmp_path
):
    folder, log = tmp_path / "full", tmp_path / "log"
    argv = runs.make_argv(data, folder, CHANGES)
    assert runs.run_in_process(argv, log, (runs.disk_full_at, 16)) == 1
    text = log.read_text()
    last = text.rstrip().splitlines()[-1]
    assert last.startswith("train_net.py: Pseudo-labels in ") and "round_02" in last
    assert "Traceback" not in text
    first = next((folder / "self_training").glob("round_01-*"))
    with runs.unchanged(first):
        resume(data, folder, log)
    runs.assert_same_end(folder, whole)


@pytest.mark.parametrize("where", ["roll back", pytest.param("verdict", marks=pytest.mark.slow)])
def test_a_run_killed_while_rolling_back_ends_like_one_that_was_not(
    where, data, condemned, tmp_path
):
    folder, log = tmp_path / "killed", tmp_path / "log"
    argv = runs.make_argv(data, folder, CHANGES)
    patches = (runs.condemn_round, 2, 3), (runs.kill_in, where, 1)
    assert runs.run_in_process(argv, log, *patches) == -signal.SIGKILL, log.read_text()
    # Of the four times that a round is judged one or two are behind.
    again = (1, 2) if where == "roll back" else (1,)
    resume(data, folder, log, (runs.condemn_round, *again))
    runs.assert_same_end(folder, condemned)


def test_a_round_that_harmed_once_is_kept_when_it_is_tried_more_gently(data, tmp_path):
    folder, log = tmp_path / "retried", tmp_path / "log"
    argv = runs.make_argv(data, folder, CHANGES)
    # Killed while it is tried again; what comes after must know the rate, the labels and the place.
    patches = (runs.condemn_round, 1), (runs.kill_in, "training step", 5)
    assert runs.run_in_process(argv, log, *patches) == -signal.SIGKILL, log.read_text()
    resume(data, folder, log)
    whole = tmp_path / "whole"
    argv = runs.make_argv(data, whole, CHANGES)
    assert runs.run_in_process(argv, log, (runs.condemn_round, 1)) == 0, log.read_text()
    runs.assert_same_end(folder, whole)
    content = runs.rounds(whole)
    tried = [(r["round"], r["harmful"], round(1 / r["rate"])) for r in content["rounds"]]
    assert tried == [(1, True, 1), (1, False, 3), (2, False, 1)]
    assert content["rounds"][0]["labels"] == content["rounds"][1]["labels"]
    rates = {line["iteration"]: line["lr"] for line in runs.metrics(whole) if "lr" in line}
    assert len(runs.labels(whole)) == 8 and max(rates) == 8


def test_a_round_rolled_back_leaves_weights_average_and_optimizer_of_its_start(condemned):
    content = runs.rounds(condemned)
    assert [r["harmful"] for r in content["rounds"]] == [False, True, True]
    assert content["rounds"][1]["reasons"] == ["Condemned."]
    assert "Round 2 harmed and is rolled back. Condemned." in (condemned / "log.txt").read_text()
    before, after = (
        runs.load(condemned / f"{name}.pth") for name in ("model_0000002", "model_final")
    )
    assert content["verdict"] == "adapted"  # by round 1
    assert not runs.differences(before["model"], after["model"])
    assert not runs.differences(before["ema"], after["ema"])
    one, two = (part["trainer"]["_trainer"]["optimizer"] for part in (before, after))
    assert not runs.differences(one["state"], two["state"])
    assert "Rolled back: Condemned." in (condemned / "self_training/round_02.html").read_text()


def test_resuming_a_finished_run_changes_nothing(data, whole, condemned, tmp_path):
    for folder in (whole, condemned):
        curve, final = runs.metrics(folder), runs.load(folder / "model_final.pth")
        with runs.unchanged(folder / "self_training"):
            resume(data, folder, tmp_path / "log")
        assert runs.metrics(folder) == curve
        assert not runs.differences(final, runs.load(folder / "model_final.pth"))


def test_pseudo_labels_deleted_or_damaged_during_a_round_are_made_again(data, whole, tmp_path):
    folder, log = tmp_path / "deleted", tmp_path / "log"
    argv = runs.make_argv(data, folder, CHANGES)
    assert runs.run_in_process(argv, log, POINTS["training"]) == -signal.SIGKILL
    for number, path in enumerate(sorted((folder / "self_training").glob("round_02-*/*/*"))):
        if number % 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:40])
    resume(data, folder, log)
    assert runs.labels(folder) == runs.labels(whole)
    assert not runs.differences(
        *(runs.load(f / "model_final.pth")["model"] for f in (folder, whole))
    )


def test_an_image_vetoed_on_the_way_leaves_the_guard_its_other_images(data, tmp_path):
    folder, log = tmp_path / "vetoed", tmp_path / "log"
    argv = runs.make_argv(data, folder, CHANGES)
    assert runs.run_in_process(argv, log, POINTS["training"]) == -signal.SIGKILL
    veto = tmp_path / "veto.txt"
    veto.write_text("image: 1.png\n")
    argv = runs.make_argv(
        data, folder, {**CHANGES, "SELF_TRAINING.VETO_FILE": str(veto)}, flags=["--resume"]
    )
    assert runs.run_in_process(argv, log) == 0, log.read_text()
    evidence = [r["evidence"] for r in runs.rounds(folder)["rounds"]]
    assert [e["images"] for e in evidence] == [4, 3]
    second = (folder / "self_training").glob("round_02-*/labels")
    names = sorted([path.name[7:] for path in labels.iterdir()] for labels in second)
    assert [sorted(found) for found in sorted(names, key=len)] == [
        ["0.png", "2.png", "3.png"],
        ["0.png", "1.png", "2.png", "3.png"],
    ]
    assert "are not complete; they are made again" in (folder / "log.txt").read_text()


def test_resuming_without_the_files_of_the_start_says_so(data, whole, tmp_path):
    folder, log = tmp_path / "lost", tmp_path / "log"
    argv = runs.make_argv(data, folder, CHANGES)
    assert runs.run_in_process(argv, log, POINTS["training"]) == -signal.SIGKILL
    (folder / "self_training" / "start.npz").unlink()
    argv = runs.make_argv(data, folder, CHANGES, flags=["--resume"])
    assert runs.run_in_process(argv, log) == 1
    last = log.read_text().rstrip().splitlines()[-1]
    assert last.startswith("train_net.py: --resume: expected the file start.npz")


def test_a_run_resumed_with_corrections_labels_anew(data, tmp_path):
    folder, veto = tmp_path / "run", tmp_path / "veto.txt"
    argv = runs.make_argv(data, folder, CHANGES)
    assert runs.run_in_process(argv, tmp_path / "log", (runs.kill_in, "training step", 5)) < 0
    before = runs.labels(folder)
    veto.write_text("region: 0.png: 0,0 56,0 56,40 0,40: white\n")
    corrected = {**CHANGES, "SELF_TRAINING.VETO_FILE": str(veto)}
    argv = runs.make_argv(data, folder, corrected, flags=["--resume"])
    assert runs.run_in_process(argv, tmp_path / "log") == 0, (tmp_path / "log").read_text()
    made = {k: v for k, v in runs.labels(folder).items() if k not in before}
    assert len(made) == 4 and all(name.startswith("round_02") for name in made)
    (name,) = [name for name in made if "000000_0" in name]
    label = np.asarray(Image.open(folder / "self_training" / name))
    assert label.shape == (40, 56) and (label == runs.NAMES.index("white")).all()
    log = (tmp_path / "log").read_text()
    assert "Regions by hand: 1." in log and "differs in settings.corrected" in log
    assert "corrected by hand" in (folder / "self_training" / "round_02.html").read_text()
