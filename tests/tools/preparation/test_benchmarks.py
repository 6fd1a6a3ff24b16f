"""Every benchmark from a tiny download to its maps, through the shared command line."""

import io
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stseg.tools.preparation.ade20k import read_index
from stseg.tools.preparation.command import main
from stseg.tools.preparation.runner import check
from stseg.tools.preparation.tasks import Task
from tests.helpers.raw_trees import TREES, files_below

SCRIPTS = Path(__file__).resolve().parents[3] / "datasets" / "prepare_scripts"


def pixels(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)))


@pytest.fixture(params=TREES, ids=lambda name: name.removesuffix(".py"))
def case(request, tmp_path):
    """Script, benchmark, flags naming a tiny download, and the expected maps."""
    benchmark, build = TREES[request.param]
    expected = build(tmp_path / "raw")
    flags = ["--root", str(tmp_path / "raw"), "--jobs", "1"]
    return request.param, benchmark, flags, expected


def test_every_split_becomes_the_expected_files(case, tmp_path):
    _, benchmark, flags, expected = case
    assert main(benchmark, [*flags, "--out", str(tmp_path / "out")]) == 0
    written = files_below(tmp_path / "out")
    assert sorted(written) == sorted(expected)
    for path, content in written.items():
        found = pixels(content)
        assert found.dtype == expected[path].dtype, path
        np.testing.assert_array_equal(found, expected[path], err_msg=path)


def test_two_runs_and_four_jobs_give_the_same_bytes(case, tmp_path):
    _, benchmark, flags, _ = case
    for out, more in (("one", []), ("one", ["--force"]), ("four", ["--jobs", "4"])):
        before = files_below(tmp_path / out)
        assert main(benchmark, [*flags, "--out", str(tmp_path / out), *more]) == 0
        assert not before or files_below(tmp_path / out) == before
    assert files_below(tmp_path / "one") == files_below(tmp_path / "four")


def test_a_check_passes_what_was_prepared_and_finds_what_was_not(case, tmp_path, capsys):
    _, benchmark, flags, expected = case
    flags = [*flags, "--out", str(tmp_path / "out")]
    assert main(benchmark, [*flags, "--check"]) == 1
    told = capsys.readouterr().out
    assert all(f"{path}: missing" in told for path in expected)
    assert not files_below(tmp_path / "out")
    main(benchmark, flags)
    assert main(benchmark, [*flags, "--check"]) == 0
    path = sorted(p for p in expected if not p.endswith(".jpg"))[0]
    wrong = expected[path].copy()
    wrong[0, 0] ^= 1
    Image.fromarray(wrong).save(tmp_path / "out" / path)
    extra = (tmp_path / "out" / path).with_name("zzz.png" if path.endswith("png") else "zzz.tif")
    extra.write_bytes(b"")
    before = files_below(tmp_path / "out")
    capsys.readouterr()
    assert main(benchmark, [*flags, "--check"]) == 1
    told = capsys.readouterr().out
    assert f"{path}: differs in 1 of {wrong.size} pixels" in told
    assert f"{extra.name}: unexpected" in told
    assert "2 not" in told
    assert files_below(tmp_path / "out") == before


@pytest.mark.parametrize(("by", "told"), [(1, ""), (9, "a.jpg: differs by 9")])
def test_a_jpeg_may_differ_as_libraries_do_and_no_more(tmp_path, by, told):
    def encoded(level):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16), (level,) * 3).save(buffer, "JPEG", quality=95)
        return buffer.getvalue()

    task = Task(tmp_path / "raw.jpg", ("a.jpg",), lambda source: (encoded(100),))
    (tmp_path / "a.jpg").write_bytes(encoded(100 + by))
    (outcome,) = check([task], tmp_path)
    problems = [f"{path}: {problem}" for path, problem in outcome.problems]
    assert len(problems) == bool(told) and all(line.startswith(told) for line in problems)
    assert outcome.kept == (() if told else ("a.jpg",))


def test_the_script_runs_the_benchmark_below_the_root_of_the_environment(
    case, tmp_path, monkeypatch
):
    script, _, _, expected = case
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "raw"))
    monkeypatch.setattr(sys, "argv", [script, "--jobs", "1"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    assert end.value.code == 0
    assert all((tmp_path / "raw" / path).is_file() for path in expected)


def test_a_missing_download_is_named_with_its_source_and_layout(case, tmp_path, capsys):
    _, benchmark, _, _ = case
    (tmp_path / "empty").mkdir()
    root = tmp_path / "empty" / ".." / "empty"
    assert main(benchmark, ["--root", str(root)]) == 2
    told = capsys.readouterr().err
    assert "http" in told
    assert "Expected below the root" in told
    assert str(root) in told
    assert not files_below(tmp_path / "empty")


def test_a_dry_run_announces_and_writes_nothing(case, tmp_path, capsys):
    _, benchmark, flags, expected = case
    out = tmp_path / "out"
    assert main(benchmark, [*flags, "--out", str(out), "--dry-run"]) == 0
    assert not out.exists()
    told = capsys.readouterr().out
    for folder in {str(Path(path).parent) for path in expected}:
        assert f"{out / folder}: " in told
    count = sum(int(line.split(": ")[1].split(" of ")[0]) for line in told.splitlines())
    assert count == len(expected)


def test_a_split_asked_for_must_be_there_and_one_not_asked_for_is_left_out(tmp_path, capsys):
    benchmark, build = TREES["prepare_voc.py"]
    build(tmp_path)
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt").unlink()
    flags = ["--root", str(tmp_path), "--jobs", "1"]
    assert main(benchmark, [*flags, "--splits", "train"]) == 2
    assert main(benchmark, flags) == 0
    told = capsys.readouterr().err
    assert "train: left out" in told and "train.txt" in told
    assert (tmp_path / "VOCdevkit/VOC2012/annotations_detectron2/val/val_000001.png").is_file()


def test_a_broken_raw_file_is_named_and_holds_up_no_other(tmp_path, capsys):
    benchmark, build = TREES["prepare_coco_stuff.py"]
    expected = build(tmp_path)
    broken = tmp_path / "coco-stuff/annotations/val2017/000000000001.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:40])
    flags = ["--root", str(tmp_path), "--jobs", "1"]
    assert main(benchmark, flags) == 1
    assert f"{broken}: Raw label map: expected a complete image" in capsys.readouterr().err
    there = {path for path in expected if (tmp_path / path).is_file()}
    missing = "coco-stuff/annotations_detectron2/val2017/000000000001.png"
    assert set(expected) - there == {missing}
    broken.write_bytes(whole)
    assert main(benchmark, flags) == 0
    assert (tmp_path / missing).is_file()


def test_the_longer_list_of_voc_is_taken_for_training_where_it_is_there(tmp_path):
    benchmark, build = TREES["prepare_voc.py"]
    build(tmp_path)
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt").write_text("train_000001")
    tasks = benchmark.splits["train"](tmp_path)
    assert [task.source.stem for task in tasks] == ["train_000001", "train_jpg_000002"]


def test_the_index_of_full_ade20k_runs_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    path = tmp_path / "index_ade20k.pkl"
    path.write_bytes(pickle.dumps({"folder": ["a"], "filename": ["b"], "more": Bomb()}))
    assert read_index(path) == {"folder": ["a"], "filename": ["b"]}
    assert not (tmp_path / "exploded").exists()
    path.write_bytes(b"no pickle")
    with pytest.raises(ValueError, match="index of ADE20K"):
        read_index(path)
