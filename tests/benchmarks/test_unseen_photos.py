"""Rows on photographs whose unseen classes have no masks, with a stand-in for train_net.py."""

import json
from ast import literal_eval
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import ablation_runs, unseen_photos
from stseg.config import parse_entry, setup_cfg
from stseg.structures import Vocabulary
from tests.helpers.camvid import NAMES, write_camvid
from tests.helpers.result_files import write_figures


@pytest.fixture
def camvid(tmp_path):
    """A folder that looks like the data set."""
    return write_camvid(tmp_path / "camvid")


@pytest.fixture
def calls(monkeypatch):
    """What train_net.py was called with; it leaves behind what it would."""
    made = []

    def run(command, stdout=None, **_):
        if command[0] == "git":
            return SimpleNamespace(returncode=0, stdout="0123456789ab\n")
        args = command[command.index("--num-gpus") + 2 :]
        opts = dict(zip(args[1::2], args[2::2], strict=True))
        out = Path(opts["OUTPUT_DIR"])
        out.mkdir(parents=True, exist_ok=True)
        made.append((args[0], Path(command[command.index("--config-file") + 1]).stem, opts))
        if args[0] == "--eval-only":
            gain = 5.0 if "/st/" in opts["MODEL.WEIGHTS"] else 0.0
            found = {"mIoU": 30.0 + gain, "seen mIoU": 40.0, "unseen mIoU": 12.0 + gain}
            write_figures(out / "results.json", "camvid_val", found)
        else:
            (out / "model_final.pth").touch()
            (out / "self_training").mkdir(exist_ok=True)
            (out / "self_training" / "rounds.json").write_text('{"verdict": "adapted"}')
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(ablation_runs.subprocess, "run", run)
    return made


def test_masks_are_those_of_the_seen_classes_counted_through(camvid, tmp_path):
    args = unseen_photos.parse_args(["--camvid", str(camvid), "--out", str(tmp_path / "out")])
    plan = unseen_photos.build_plan(args)
    train, val = literal_eval(plan.stage1[1])
    entry = parse_entry(train, "here")
    seen = ("sky", "building", "pole", "road", "pavement", "tree", "pedestrian")
    assert entry.names == seen + unseen_photos.ABSENT
    words = {word for name, more in unseen_photos.UNSEEN.items() for word in (name, *more)}
    assert words.isdisjoint(unseen_photos.ABSENT)
    assert dict(entry.values) == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 9: 6}
    assert set(entry.ignore) == {6, 7, 8, 10, 255}
    marked = Vocabulary.parse(val["names"])
    assert marked.names == tuple(NAMES) and marked.synonyms[6] == ("sign symbol", "street sign")
    unseen = [name for name, is_seen in zip(marked.names, marked.seen, strict=True) if not is_seen]
    assert unseen == list(unseen_photos.UNSEEN)


def test_every_row_starts_where_it_should_and_the_table_tells_seen_from_unseen(
    camvid, calls, tmp_path, capsys
):
    flags = ["--camvid", str(camvid), "--out", str(tmp_path / "out")]
    assert unseen_photos.main(flags) == 0
    trained = [(config, opts) for flag, config, opts in calls if flag == "--resume"]
    assert len(trained) == 3 + 3 + 1 + 1  # what CLIP-photo says by itself is not trained
    for config, opts in trained:
        is_second = config == "adapt_camvid_unseen"
        assert ("SELF_TRAINING.IMAGES" in opts) == is_second
        if is_second:
            assert f"seed{opts['SEED']}/" in opts["MODEL.WEIGHTS"]
        else:
            assert opts["DATASETS.TRAIN"] == "('camvid_seen',)"
            assert "SOLVER.MAX_ITER" not in opts  # the config's
    key = "MODEL.STSEG.ENSEMBLE.BETA"
    evaluated = {
        (config, opts.get(key, ""), opts["SEED"], Path(opts["MODEL.WEIGHTS"]).parent.name)
        for flag, config, opts in calls
        if flag == "--eval-only" and config != "photo_mini"
    }
    for seed in "012":
        for config, beta, weights in (
            ("camvid_unseen", "", "baseline"),
            ("camvid_unseen", "0.0", "baseline"),
            ("adapt_camvid_unseen", "", "st"),
            ("camvid_unseen", "0.0", "st"),
        ):
            assert (config, beta, seed, weights) in evaluated
    assert all(key not in opts for _, opts in trained)
    (alone,) = [o for _, config, o in calls if config == "photo_mini"]
    assert alone["MODEL.WEIGHTS"] == "stseg://photos/photo_mini.pth"
    content = json.loads((tmp_path / "out" / "table.json").read_text())
    assert content["differences"]["st - baseline"]["unseen"]["mean"] == pytest.approx(5.0)
    assert content["in_evaluation"]["baseline_decoder"] == [key, "0.0"]
    assert content["command"][2] == "benchmarks.unseen_photos"
    assert "CLIP-photo alone" in capsys.readouterr().out
    calls.clear()
    assert unseen_photos.main(flags) == 0
    assert not calls
    assert "About 0 minutes" in capsys.readouterr().out


def test_every_row_looks_at_pictures_of_one_size_and_gives_clip_one_weight():
    for row in unseen_photos.ROWS.values():
        cfg = setup_cfg(ablation_runs.CONFIGS / row.config, [*row.opts], device="cpu")
        looked_at = cfg.MODEL.STSEG.IMAGE_SIZE_TEST or cfg.MODEL.STSEG.IMAGE_SIZE
        assert list(looked_at) == [480, 640]
        of_camvid = "camvid" in row.config
        assert cfg.MODEL.CLIP.FINETUNE == ("full" if of_camvid else "none")
        assert cfg.MODEL.STSEG.ENSEMBLE.BETA == (0.8 if of_camvid else 0)


def test_figures_of_one_weight_are_not_taken_for_those_of_another(
    camvid, calls, tmp_path, monkeypatch
):
    flags = ["--camvid", str(camvid), "--out", str(tmp_path / "out"), "--rows", "baseline_decoder"]
    assert unseen_photos.main(flags) == 0
    key = "MODEL.STSEG.ENSEMBLE.BETA"
    other = replace(unseen_photos.ROWS["baseline_decoder"], evaluation=(key, "0.4"))
    monkeypatch.setitem(unseen_photos.ROWS, "baseline_decoder", other)
    with pytest.raises(SystemExit, match=r"ENSEMBLE.BETA 0.0 \(now 0.4\)"):
        unseen_photos.main(flags)
