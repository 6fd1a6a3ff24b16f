"""Adaptation on photographs over seeds, with a stand-in for train_net.py."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import ablation_runs, photographs
from tests.helpers.result_files import write_figures

FIGURES = {"mIoU": 20.0, "fwIoU": 50.0, "pACC": 60.0, "IoU-sky": 70.0, "ACC-sky": 80.0}


@pytest.fixture
def sets(tmp_path):
    """Folders that look like both data sets."""
    for name in ("camvid", "facades"):
        for part in (
            "images/train",
            "images/val",
            "images/unlabelled",
            "labels/train",
            "labels/val",
        ):
            (tmp_path / name / part).mkdir(parents=True)
        (tmp_path / name / "names.json").write_text('["sky"]')
    return ["--camvid", str(tmp_path / "camvid"), "--facades", str(tmp_path / "facades")]


@pytest.fixture
def calls(monkeypatch):
    """What train_net.py was called with; it leaves behind what it would."""
    made = []

    def run(command, stdout, **_):
        args = command[command.index("--num-gpus") + 2 :]
        opts = dict(zip(args[1::2], args[2::2], strict=True))
        out = Path(opts["OUTPUT_DIR"])
        out.mkdir(parents=True, exist_ok=True)
        made.append((args[0], Path(command[command.index("--config-file") + 1]).stem, opts))
        if args[0] == "--eval-only":
            is_after = "adapted" in opts["MODEL.WEIGHTS"]
            gain = float(opts["SEED"]) if is_after else 0.0
            found = {k: v + gain for k, v in FIGURES.items()}
            write_figures(out / "results.json", opts["DATASETS.TEST"].strip("(),'"), found)
        else:
            (out / "model_final.pth").touch()
            (out / "self_training").mkdir(exist_ok=True)
            rounds = [{"round": 1, "harmful": opts["SEED"] == "1", "reasons": ["Gone: sky."]}]
            content = {"rounds": rounds, "verdict": "adapted"}
            (out / "self_training" / "rounds.json").write_text(json.dumps(content))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(ablation_runs.subprocess, "run", run)
    return made


def test_every_seed_has_a_start_of_its_own_and_the_table_tells_the_spread(
    sets, calls, tmp_path, capsys
):
    flags = [*sets, "--out", str(tmp_path / "out"), "--seeds", "3"]
    assert photographs.main(flags) == 0
    starts = [opts for flag, config, opts in calls if (flag, config) == ("--resume", "camvid")]
    adapts = [
        opts for flag, config, opts in calls if (flag, config) == ("--resume", "adapt_camvid")
    ]
    for made in (starts, adapts):  # two at a time, in any order
        assert sorted(opts["SEED"] for opts in made) == ["0", "1", "2"]
    for opts in adapts:
        assert opts["MODEL.WEIGHTS"].endswith(f"seed{opts['SEED']}/start/model_final.pth")
        assert opts["SELF_TRAINING.IMAGES"].endswith("facades/images/unlabelled")
        assert opts["DATASETS.TEST"] == "()"
    content = json.loads((tmp_path / "out" / "table.json").read_text())
    gain = content["summary"]["mIoU"]["gain"]
    assert (gain["mean"], gain["range"]) == (1.0, 2.0)
    assert content["seeds"][1]["rolled_back"] == {"1": ["Gone: sky."]}
    assert content["seeds"][0]["before"] == {k: v for k, v in FIGURES.items() if k != "ACC-sky"}
    text = capsys.readouterr().out
    assert "6 of 6 runs to do, about 108 minutes" in text
    assert "| 2 | 20.00 | 20.00, 22.00 |" in text
    calls.clear()
    assert photographs.main(flags) == 0
    assert not calls and "0 of 6 runs to do, about 0 minutes" in capsys.readouterr().out


def test_another_world_has_other_configs_and_a_folder_of_its_own(sets, calls, tmp_path):
    args = photographs.parse_args([*sets, "--world", "photos"])
    assert args.out.name == "photographs_photos"
    assert photographs.parse_args(sets).out.name == "photographs"
    flags = [*sets, "--world", "photos", "--out", str(tmp_path / "out"), "--seeds", "1"]
    assert photographs.main(flags) == 0
    trained = {config: opts for flag, config, opts in calls if flag == "--resume"}
    assert set(trained) == {"camvid_photo", "adapt_camvid_photo"}
    assert "SOLVER.MAX_ITER" not in trained["camvid_photo"]  # the config's


def test_folders_without_names_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        photographs.parse_args(["--camvid", str(tmp_path), "--facades", str(tmp_path)])
    assert "names.json, got none there" in capsys.readouterr().err


def test_a_start_that_is_sure_of_nothing_keeps_its_figures(sets, calls, tmp_path, monkeypatch):
    run = ablation_runs.subprocess.run

    def refuses(command, stdout, **more):
        if "adapt_camvid" in " ".join(command) and command[command.index("SEED") + 1] == "1":
            stdout.write(
                f"train_net.py: {photographs.REFUSED} 0.9 in one image, got none.\n".encode()
            )
            return SimpleNamespace(returncode=1)
        return run(command, stdout, **more)

    monkeypatch.setattr(ablation_runs.subprocess, "run", refuses)
    flags = [*sets, "--out", str(tmp_path / "out"), "--seeds", "3"]
    assert photographs.main(flags) == 0
    rows = json.loads((tmp_path / "out" / "table.json").read_text())["seeds"]
    assert [row["verdict"] for row in rows] == ["adapted", photographs.NOTHING_SURE, "adapted"]
    assert rows[1]["after"] == rows[1]["before"] and rows[1]["rolled_back"] == {}
    assert rows[2]["after"]["mIoU"] == 22
