"""Every benchmark from a tiny download to its maps, through the shared command line."""

import io
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stseg.data.preparation.command import main
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
    assert main(benchmark, ["--root", str(tmp_path / "empty")]) == 2
    told = capsys.readouterr().err
    assert "http" in told
    assert "Expected below the root" in told
    assert str(tmp_path / "empty") in told
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
