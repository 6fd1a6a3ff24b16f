"""Both worlds of the study of the guard: flags, command lines and settings, with stand-ins."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import stseg.engine
from benchmarks import ablation_runs, guard, guard_case
from benchmarks.guard_worlds import DRAWINGS, PHOTOS, drawn_target
from stseg.structures import Vocabulary
from stseg.weights import PackagedFile
from tests.helpers.camvid import NAMES, write_camvid
from tests.self_training.test_guard import snapshot


@pytest.fixture
def commands(monkeypatch):
    """What was run; each process leaves behind what it would."""
    made = []

    def run(command, **_):
        made.append(command)
        if "benchmarks.guard_case" in command:
            folder = Path(command[command.index("--out") + 1])
            (folder / "self_training").mkdir()
            for name in ("start", "round_01", "round_02"):
                snapshot().save(folder / "self_training" / f"{name}.npz")
            miou = [40.0, 40.0 + len(made) / 10, 40.0 + len(folder.name) / 10]
            (folder / "case.json").write_text(json.dumps({"miou": miou}))
        else:
            out = Path(command[command.index("OUTPUT_DIR") + 1])
            (out / "model_final.pth").touch()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(ablation_runs.subprocess, "run", run)
    return made


@pytest.fixture
def with_photos_extra(monkeypatch):
    """As if the extra `stseg[photos]` were installed."""
    monkeypatch.setattr(PackagedFile, "path", lambda self: Path("network.pth"))


def cases_of(commands):
    return [c[c.index("benchmarks.guard_case") :] for c in commands if "benchmarks.guard_case" in c]


def test_command_lines_of_drawings_are_what_they_were(commands, tmp_path, capsys):
    out, report = tmp_path / "out", tmp_path / "guard.json"
    flags = ["--data", str(tmp_path), "--out", str(out), "--json", str(report)]
    assert guard.main([*flags, "--jobs", "1"]) == 0
    assert "64 of 64 cases to train, 102 core-minutes; 3 of their starts" in capsys.readouterr().out
    assert len(commands) == 3 + 64
    found = cases_of(commands)
    folder = str(out / "cases" / "shipped" / "honest")
    start = ["--start", "stseg://small_world/stseg_mini.pth", "--seed", "0", "--out", folder]
    assert found[0] == ["benchmarks.guard_case", "honest", *start]
    weights = str(out / "seed1" / "start" / "model_final.pth")
    folder = str(out / "cases" / "start1" / "no_unseen")
    assert ["benchmarks.guard_case", "no_unseen", "--start", weights, "--seed", "215",
            "--out", folder] in found  # fmt: skip
    content = json.loads(report.read_text())
    assert content["world"] == "drawings" and content["chosen"]["models"] == 32
    assert content["models"] == 32 and len(content["rows"]) == 64


def test_photographs_start_from_the_baseline_of_unseen_photos_and_go_on_where_they_were(
    commands, with_photos_extra, tmp_path, capsys
):
    camvid, starts = write_camvid(tmp_path / "camvid"), tmp_path / "starts"
    out, report = tmp_path / "out", tmp_path / "guard.json"
    flags = ["--world", "photos", "--camvid", str(camvid), "--unseen-photos", str(starts)]
    flags += ["--out", str(out), "--json", str(report), "--jobs", "1"]
    assert guard.main(flags) == 0
    text = capsys.readouterr().out
    assert "17 of 17 cases to train, 85 core-minutes; 1 of their starts, 24 more." in text
    first, *others = commands
    assert "camvid_unseen.yaml" in " ".join(first) and "('camvid_seen',)" in first
    weights = str(starts / "seed0" / "baseline" / "model_final.pth")
    folder = out / "cases" / "seed0"
    assert cases_of(others) == [
        ["benchmarks.guard_case", kind, "--world", "photos", "--camvid", str(camvid)]
        + ["--start", weights, "--seed", str(seed), "--out", str(folder / kind)]
        for seed, kind in enumerate(guard_case.kinds(PHOTOS))
    ]
    content = json.loads(report.read_text())
    assert content["world"] == "photos" and "chosen" not in content and content["models"] == 17
    commands.clear()
    shutil.rmtree(folder / "ring")
    assert guard.main([*flags, "--starts", "2"]) == 0
    assert "18 of 34 cases to train, 90 core-minutes; 1 of" in capsys.readouterr().out
    assert len(commands) == 1 + 1 + 17
    assert cases_of(commands)[0][1] == "ring"
    assert cases_of(commands)[-1][-3:] == ["116", "--out", str(out / "cases/seed1/no_unseen")]


@pytest.mark.parametrize(
    "flags, told",
    [
        ([], "--data: expected with --world drawings, got none"),
        (["--world", "photos"], "--camvid: expected with --world photos, got none"),
        (["--data", "x", "--camvid", "y"], "--camvid: expected with --world photos, got --world"),
        (["--data", "x", "--starts", "1"], "--starts: expected with --world photos"),
        (["--data", "x", "--unseen-photos", "y"], "--unseen-photos: expected with --world photos"),
        (
            ["--world", "photos", "--camvid", "x", "--data", "y"],
            "--data: expected with --world dra",
        ),
        (["--world", "photos", "--camvid", "x", "--half", "both"], "--half: expected with --world"),
        (["--world", "photos", "--camvid", "x", "--starts", "0"], "--starts: invalid choice"),
        (["--data", "x", "--jobs", "0"], "--jobs: expected 1 or more, got 0"),
    ],
)
def test_flags_of_the_other_world_are_refused(flags, told, capsys):
    with pytest.raises(SystemExit) as ended:
        guard.parse_args(flags)
    assert ended.value.code == 2 and told in capsys.readouterr().err


def test_worlds_have_folders_of_their_own():
    drawn = guard.parse_args(["--data", "x"])
    photos = guard.parse_args(["--world", "photos", "--camvid", "x"])
    assert (drawn.out.name, photos.out.name) == ("guard", "guard_photos")
    assert (drawn.half, photos.starts, photos.unseen_photos.name) == ("both", 1, "unseen_photos")


def test_what_is_missing_is_named_with_the_cure(without_photos_extra, commands, tmp_path):
    camvid = write_camvid(tmp_path / "camvid")
    flags = ["--world", "photos", "--out", str(tmp_path / "out"), "--camvid"]
    with pytest.raises(SystemExit, match=r"guard: .*efficientnet.*pip install 'stseg\[photos\]'"):
        guard.main([*flags, str(camvid)])
    with pytest.raises(SystemExit, match=r"nowhere: expected CamVid.*Give --camvid"):
        guard.main([*flags, str(tmp_path / "nowhere")])
    (camvid / "labels" / "val").rmdir()
    with pytest.raises(SystemExit, match="got a folder without labels/val"):
        guard.main([*flags, str(camvid)])
    (camvid / "labels" / "val").mkdir()
    (camvid / "names.json").write_text('{"classes": ["door"]}')
    with pytest.raises(SystemExit, match="expected CamVid's classes sky, .*, got door"):
        guard.main([*flags, str(camvid)])
    assert not commands


@pytest.mark.parametrize(
    "flags, told",
    [
        (["shift_2", "--world", "photos", "--camvid", "x"], "KIND: expected one of honest, "),
        (["honest", "--world", "photos"], "--camvid: expected together with --world photos"),
        (["honest", "--camvid", "x"], "--camvid: expected together with --world photos"),
    ],
)
def test_a_case_is_of_its_world(flags, told, capsys):
    with pytest.raises(SystemExit):
        guard_case.main([*flags, "--start", "x", "--out", "y"])
    assert told in capsys.readouterr().err


@pytest.fixture
def configs(monkeypatch):
    """Configs of the cases that were run; nothing is trained, and nothing found."""
    seen = []

    class Trainer:
        def __init__(self, cfg):
            seen.append(cfg)

        def resume_or_load(self, resume):
            pass

        def train(self):
            pass

    monkeypatch.setattr(stseg.engine, "Trainer", Trainer)
    return seen


def run_photos(kind, tmp_path):
    camvid = write_camvid(tmp_path / "camvid", pictures=2)
    flags = [kind, "--world", "photos", "--camvid", str(camvid), "--start", "start.pth"]
    assert guard_case.main([*flags, "--seed", "7", "--out", str(tmp_path / "out")]) == 0
    return camvid


def test_a_case_on_photographs_has_stage_2_of_unseen_photos_at_less_cost(
    configs, clean_catalog, label_cache_dir, tmp_path
):
    camvid = run_photos("ring", tmp_path)
    (cfg,) = configs
    st = cfg.SELF_TRAINING
    assert (cfg.MODEL.STSEG.IMAGE_SIZE, cfg.MODEL.STSEG.IMAGE_SIZE_TEST) == ([288, 384], [384, 512])
    assert cfg.MODEL.STSEG.ENSEMBLE.BETA == 0.8
    assert (cfg.MODEL.CLIP.FINETUNE, cfg.MODEL.CLIP.NAME) == ("full", "efficientnet_lite2")
    assert (st.ROUNDS, st.ROUND_ITERS, st.PREVIEW, st.GUARD.IMAGES) == (2, 25, 0, 20)
    assert (cfg.DATASETS.MAX_IMAGES, cfg.SOLVER.IMS_PER_BATCH, cfg.SEED) == (100, 2, 7)
    assert (st.GATE.THRESH, st.GATE.MIN_PIXEL, st.REFINE.ENABLED) == (0.5, 0.5, False)
    assert (st.LABELER, st.SOURCE_VOCABULARY) == ("poison_ring_photos", "")
    (shown,) = Path(st.IMAGES).iterdir()  # every fourth
    assert shown.resolve().parent == camvid.resolve() / "images" / "train"
    names = Vocabulary.parse(Path(st.VOCABULARY))
    assert names.names == PHOTOS.names == tuple(NAMES)
    assert names.synonyms[NAMES.index("bicyclist")] == ("bicyclist", "bicycle")
    unseen = {n for n, is_seen in zip(names.names, names.seen, strict=True) if not is_seen}
    assert unseen == set(PHOTOS.unseen)
    (truth,) = cfg.DATASETS.FOLDERS
    assert truth["name"] == PHOTOS.truth and truth["labels"] == str(camvid / "labels" / "val")
    assert len(range(101)[PHOTOS.judged]) == 50


def test_wrong_names_have_neither_marks_nor_other_words(
    configs, clean_catalog, label_cache_dir, tmp_path
):
    run_photos("wrong_names", tmp_path)
    names = Vocabulary.parse(Path(configs[0].SELF_TRAINING.VOCABULARY))
    for name, wrong in PHOTOS.wrong.items():
        place = NAMES.index(name)
        assert names.synonyms[place] == (wrong,) and not names.seen[place]
    assert names.seen.count(True) == 4 and configs[0].SELF_TRAINING.LABELER == "build_sam_labeler"


def test_honest_cases_have_sam_and_a_lower_gate_as_in_drawings():
    options = {
        name: dict(zip(kind.opts[::2], kind.opts[1::2], strict=True))
        for name, kind in guard_case.kinds(PHOTOS).items()
    }
    assert options["honest"] == {}
    assert options["honest_low_gate"]["SELF_TRAINING.GATE.THRESH"] == "0.33"
    drawn = guard_case.kinds(DRAWINGS)["honest_low_gate"].opts
    assert drawn[-2:] == ("SELF_TRAINING.GATE.THRESH", "0.6")


def test_names_of_drawings_are_as_they_were(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    found = drawn_target(tmp_path, DRAWINGS.wrong, None)
    assert found[1] == str(tmp_path / "small_world" / "images" / "target_train")
    names = [DRAWINGS.wrong.get(name, name) for name in DRAWINGS.names]
    assert Vocabulary.parse(Path(found[3])) == Vocabulary.from_names(names)
    assert len(DRAWINGS.wrong) == 8 and range(100)[DRAWINGS.judged] == range(50)
