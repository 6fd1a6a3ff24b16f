"""What self-training makes of images, in one go; see test_rounds_resume.py for runs cut off."""

import json

import numpy as np
import pytest

from stseg.data.image_io import read_label
from stseg.evaluation import read_result

from . import round_runs as runs

KEPT = "no gain: kept the starting weights"
HIGH_RATE = {
    "SOLVER.BASE_LR": 3.0,
    "SELF_TRAINING.GATE.THRESH": 0.0,
    "SELF_TRAINING.ROUND_ITERS": 4,
}
AVERAGE = {"SOLVER.EMA.ENABLED": True, "SOLVER.EMA.DECAY": 0.5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_images(tmp_path_factory.mktemp("rounds") / "data", count=4)


@pytest.fixture(scope="module")
def folders(data):
    """Entries for DATASETS.FOLDERS: with all names, and with fewer in another order."""
    parts = [str(data / part) for part in ("images", "labels", "names.txt")]
    other = data.parent / "source"
    other = runs.make_images(other, count=3, size=(48, 32))
    (other / "names.txt").write_text("green\nblack\nred\nyellow\n")
    source = [str(other / part) for part in ("images", "labels", "names.txt")]
    return [["rounds_labelled", *parts], ["rounds_source", *source]]


@pytest.fixture
def run(data, tmp_path):
    """Runs train_net; returns OUTPUT_DIR. The log lies beside it."""

    def start(changes=(), *patches, flags=(), stseg=False, folder="run", images=data):
        argv = runs.make_argv(images, tmp_path / folder, changes, flags, stseg)
        log = tmp_path / f"{folder}.txt"
        assert runs.run_in_process(argv, log, *patches) == 0, log.read_text()
        return tmp_path / folder

    return start


def start_and_end(folder):
    """Content of the first and the last weights of a run."""
    return tuple(
        runs.load(folder / name) for name in ("self_training/start.pth", "model_final.pth")
    )


def test_a_target_whose_names_stage_1_had_all_is_adapted_to_and_the_marks_are_kept(run, data):
    folder = run({"SELF_TRAINING.SOURCE_VOCABULARY": str(data / "names.txt")})
    assert runs.rounds(folder)["verdict"]
    record = json.loads((folder / "self_training" / "seen.json").read_text())
    assert (record["seen"], record["unseen"]) == (4, 0)
    assert {c["name"]: c["as"] for c in record["classes"]} == {name: name for name in runs.NAMES}
    assert "4 seen, 0 unseen" in (folder / "log.txt").read_text()


def test_wrong_labels_are_rolled_back_to_the_exact_starting_weights(run):
    folder = run({**HIGH_RATE, **AVERAGE}, (runs.shuffle_labels,))
    content = runs.rounds(folder)
    assert content["verdict"] == KEPT
    # Tried once more, gently; then the run ends.
    assert [(r["round"], r["harmful"]) for r in content["rounds"]] == [(1, True), (1, True)]
    assert [r["rate"] for r in content["rounds"]] == [1, pytest.approx(1 / 3)]
    assert all(r["reasons"] for r in content["rounds"]) and content["kept"] == 0
    text = (folder / "log.txt").read_text()
    assert (
        "Round 1 harmed and is rolled back; it is tried once more at a third of the rate." in text
    )
    assert "Round 1 harmed and is rolled back. " in text
    assert f"Verdict: {KEPT}. No round was accepted." in text
    start, final = (
        runs.load(folder / "self_training/start.pth"),
        runs.load(folder / "model_final.pth"),
    )
    assert all(k in start["model"] for k in ("colours", "sharpness"))
    assert not runs.differences(start["model"], {k: final["model"][k] for k in start["model"]})
    assert not runs.differences(start["average"], final["ema"])
    before_rollback = runs.load(folder / "model_0000007.pth")["model"]
    assert runs.differences(before_rollback["colours"], final["model"]["colours"])


def test_images_that_are_handled_perfectly_bring_no_gain(run, tmp_path):
    images = runs.make_images(tmp_path / "perfect", count=3, noise=0)
    sam = {"MODEL.SAM.CHECKPOINT": ""}
    learns = {"SOLVER.BASE_LR": 0.02}
    folder = run({**sam, **learns, "SELF_TRAINING.REFINE.ENABLED": False}, images=images)
    assert runs.rounds(folder)["verdict"] == KEPT
    assert [r["harmful"] for r in runs.rounds(folder)["rounds"]] == [False, False]
    start, final = (
        runs.load(folder / "self_training/start.pth"),
        runs.load(folder / "model_final.pth"),
    )
    assert not runs.differences(start["model"], {k: final["model"][k] for k in start["model"]})
    trained = runs.load(folder / "model_0000001.pth")["model"]
    assert runs.differences(trained["colours"], start["model"]["colours"])
    # Without SAM a label is what the model says, and that is the truth.
    for index, path in enumerate(sorted((folder / "self_training").glob("round_01-*/labels/*"))):
        truth = read_label(images / "labels" / f"{index}.png", 4, ())
        assert (read_label(path, 4, (255,)) == truth).all()


def test_two_processes_make_the_labels_of_one(run, data, tmp_path):
    one = run()
    argv = runs.make_argv(data, tmp_path / "two")
    log = tmp_path / "two.txt"
    assert runs.run_in_two_processes(argv, log) == [0, 0], log.read_text()
    two = tmp_path / "two"
    first, second = (
        {k: v for k, v in runs.labels(f).items() if k.startswith("round_01")} for f in (one, two)
    )
    assert len(first) == 4
    assert first == second
    assert len(runs.labels(two)) == 8
    assert [r["round"] for r in runs.rounds(two)["rounds"]] == [1, 2]
    assert runs.rounds(two)["verdict"] == runs.rounds(one)["verdict"]
    assert not list((two / "self_training").glob("round_*_start.pth"))


def test_no_class_over_the_gate_in_a_later_round_ends_the_rounds(run):
    folder = run({"SELF_TRAINING.GUARD.ENABLED": False}, (runs.close_gate_at, 2))
    content = runs.rounds(folder)
    assert [r["round"] for r in content["rounds"]] == [1]
    assert content["verdict"].startswith("not judged")
    text = (folder / "log.txt").read_text()
    assert "Round 2: no labels; the rounds end here. SELF_TRAINING.GATE.THRESH: expected" in text
    assert not list((folder / "self_training").glob("round_*_start.pth"))
    final = runs.load(folder / "model_final.pth")
    assert final["iteration"] == 1
    assert not runs.differences(final["model"], runs.load(folder / "model_0000001.pth")["model"])


def test_a_source_set_is_mixed_in_and_watched_and_rare_classes_come_more_often(
    run, folders, tmp_path
):
    mixed = {
        "DATASETS.FOLDERS": folders,
        "SELF_TRAINING.SOURCE.DATASETS": ("rounds_source",),
        "SELF_TRAINING.SOURCE.FRACTION": 0.5,
        "SELF_TRAINING.BALANCED_SAMPLING": True,
        "SELF_TRAINING.GATE.QUANTILE": 0.5,
        "SELF_TRAINING.REFINE.FRAME": "padded",
    }
    folder = run(mixed, (runs.note_loaders, str(tmp_path / "loaders")), stseg=True)
    wanted = [json.loads(line) for line in (tmp_path / "loaders").read_text().splitlines()]
    assert len(wanted) == 2 and all(min(weights) >= 1 for weights in wanted)
    evidence = runs.rounds(folder)["rounds"][0]["evidence"]
    assert 0 <= evidence["source_miou_start"] <= 100
    assert 0 <= evidence["source_miou_now"] <= 100


def test_regions_vote_at_reduced_size(run, tmp_path):
    changes = {
        "SELF_TRAINING.REFINE.REGION_VOTE.ENABLED": True,
        "SELF_TRAINING.REFINE.REGION_VOTE.PURITY": 0.1,
        "SELF_TRAINING.REFINE.REGION_VOTE.POINTS_PER_SIDE": 3,
        "SELF_TRAINING.LABEL_MAX_SIZE": 28,  # half of the image's side
        "SELF_TRAINING.ROUNDS": 1,
    }
    note = (runs.note_loaders, str(tmp_path / "loaders"))
    folder = run(changes, (runs.believe_any_region,), note)
    assert (tmp_path / "loaders").read_text() == "null\n"  # all come alike
    paths = list((folder / "self_training").glob("round_01-*/labels/*"))
    labels = [read_label(path, 4, (255,)) for path in paths]
    assert [label.shape for label in labels] == [(40, 56)] * 4
    assert all((label >= 0).any() for label in labels)
    assert all((label == np.kron(label[::2, ::2], np.ones((2, 2)))).all() for label in labels)


def test_the_online_teacher_labels_every_batch(run, folders, data, tmp_path):
    online = {
        "DATASETS.FOLDERS": folders,
        "INPUT.CROP.SIZE": [48, 64],  # larger than the images: a part is padding
        "SELF_TRAINING.GATE.THRESH": 0.5,
        "SELF_TRAINING.ONLINE": True,
        "SELF_TRAINING.REFINE.ENABLED": False,
        "SELF_TRAINING.SOURCE.DATASETS": ("rounds_source",),
        "SELF_TRAINING.SOURCE.FRACTION": 0.5,
        "SOLVER.EMA.ENABLED": True,
        "SOLVER.BASE_LR": 0.1,
        "SOLVER.LOG_PERIOD": 1,
    }
    folder = run(online, (runs.note_training_labels, str(tmp_path / "labels")))
    assert len(runs.rounds(folder)["rounds"]) == 2
    assert not runs.labels(folder)
    losses = [line["total_loss"] for line in runs.metrics(folder) if "total_loss" in line]
    assert len(losses) == 4 and all(loss > 0 for loss in losses)
    lines = [json.loads(line) for line in (tmp_path / "labels").read_text().splitlines()]
    target = [line[1:] for line in lines if line[0].startswith(str(data))]
    source = [line[1:] for line in lines if not line[0].startswith(str(data))]
    assert len(target) == len(source) == 4
    for padding, picture, right in target:
        assert padding == 0 and picture == 1 and right > 0.99
    # Its files call the colours by wrong names: no teacher would.
    for padding, picture, right in source:
        assert padding == 0 and 0 < picture < 1 and right == 0


ONLINE = {
    "SELF_TRAINING.GATE.THRESH": 1.0,  # which no class reaches
    "SELF_TRAINING.ONLINE": True,
    "SELF_TRAINING.REFINE.ENABLED": False,
    "SELF_TRAINING.ROUNDS": 1,
    "SELF_TRAINING.GUARD.ENABLED": False,
}


def test_the_online_teacher_obeys_quantile_and_balance(run, tmp_path):
    asked = {"SELF_TRAINING.GATE.QUANTILE": 0.3, "SELF_TRAINING.BALANCED_SAMPLING": True}
    notes = [
        (runs.note_loaders, str(tmp_path / "loaders")),
        (runs.note_training_labels, str(tmp_path / "labels")),
    ]
    run({**ONLINE, **asked}, *notes)
    (weights,) = [json.loads(line) for line in (tmp_path / "loaders").read_text().splitlines()]
    assert len(weights) == 4 and min(weights) >= 1
    lines = [json.loads(line) for line in (tmp_path / "labels").read_text().splitlines()]
    assert len(lines) == 4 and any(picture > 0 for _, _, picture, _ in lines)


def test_the_online_teacher_without_a_class_above_the_gate_is_refused(data, tmp_path):
    argv = runs.make_argv(data, tmp_path / "run", ONLINE)
    assert runs.run_in_process(argv, tmp_path / "log") == 1
    last = (tmp_path / "log").read_text().rstrip().splitlines()[-1]
    assert last.startswith("train_net.py: SELF_TRAINING.GATE.THRESH: expected at least one class")
    assert "got none in 4 images. Other thresholds would let through, of the masks" in last


def test_a_model_goes_from_a_dry_run_of_both_stages_to_plain_evaluation(run, folders):
    sets = {"DATASETS.FOLDERS": folders[:1], "DATASETS.TEST": ("rounds_labelled",)}
    plain = {**sets, "SELF_TRAINING.ENABLED": False, "DATASETS.TRAIN": ("rounds_labelled",)}
    ema = {"SOLVER.EMA.ENABLED": True, "SOLVER.EMA.DECAY": 0.5}
    stage_1 = run({**plain, **ema}, flags=["--dry-run", "2"], stseg=True, folder="one") / "dry_run"
    first = runs.load(stage_1 / "model_final.pth")
    weights = {"MODEL.WEIGHTS": str(stage_1 / "model_final.pth")}

    seen = run(weights, flags=["--preview", "3"], stseg=True, folder="look")
    page = (seen / "self_training/preview/round_01.html").read_text()
    assert page.count("<img") >= 9
    assert len(list((seen / "self_training/preview").glob("round_01-*/labels/*"))) == 3
    assert not list(seen.glob("*.pth"))

    stage_2 = (
        run({**sets, **weights}, flags=["--dry-run", "2"], stseg=True, folder="two") / "dry_run"
    )
    assert len(runs.labels(stage_2)) == 4  # two images in each of two rounds
    assert "verdict" in runs.rounds(stage_2)
    # What is adapted is what was evaluated and shown.
    start = runs.load(stage_2 / "self_training/start.pth")["model"]
    assert not runs.differences({k: start[k] for k in first["ema"]}, first["ema"])
    manifest = json.loads(next(seen.rglob("manifest.json")).read_text())
    assert manifest["weights"] == runs.digest({**first["model"], **start})  # frozen ones, too

    second = runs.load(stage_2 / "model_final.pth")
    assert second["model"].keys() == first["model"].keys()
    weights = {"MODEL.WEIGHTS": str(stage_2 / "model_final.pth")}
    final = run({**plain, **weights}, flags=["--eval-only"], stseg=True, folder="eval")
    found = read_result(final / "results.json", "rounds_labelled").figures
    assert 0 <= found["mIoU_gt"] <= 1
