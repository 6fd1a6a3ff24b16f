"""No command writes over what it reads, nor over what somebody else made."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stseg.checkpoint.export import export_weights
from stseg.evaluation import evaluation_command as evaluation_main
from stseg.evaluation import read_result
from stseg.structures import Segmentation
from stseg.tools.data_commands import data_command as data_main
from stseg.tools.name_similarity import main as similarity_main
from stseg.utils.files import check_output

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path):
    """Predictions, labels, names and a weights file to score."""
    for name in ("pred", "gt", "images"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / "names.json").write_text('["a", "b"]')
    (tmp_path / "names.txt").write_text("a\nb\n")
    (tmp_path / "w.pth").write_bytes(b"weights")
    return tmp_path


def score(folder, output):
    flags = ["--pred", folder / "pred", "--gt", folder / "gt", "--names", folder / "names.json"]
    flags += ["--weights", folder / "w.pth", "--output", folder / output]
    return evaluation_main(["score", *map(str, flags)])


def refused(call, *files):
    """What a command says that changes none of some files."""
    before = {path: path.read_bytes() for path in files}
    with pytest.raises((SystemExit, ValueError, OSError)) as caught:
        call()
    assert {path: path.read_bytes() for path in files} == before
    return caught.value


@pytest.mark.parametrize("output", ["w.pth", "names.json", "gt/a.png", "pred/a.png", "names.txt"])
def test_scoring_keeps_its_inputs_and_strange_files(folder, output, capsys):
    error = refused(lambda: score(folder, output), folder / output)
    assert error.code == 2 and "--output: expected " in capsys.readouterr().err


def test_scoring_again_replaces_the_result(folder):
    assert score(folder, "a.json") == 0
    first = read_result(folder / "a.json").provenance["weights"]
    (folder / "w.pth").write_bytes(b"other weights")
    assert score(folder, "a.json") == 0
    assert first != read_result(folder / "a.json").provenance["weights"]


@pytest.mark.parametrize("suffix", ["html", "md"])
def test_a_report_replaces_reports_alone(folder, suffix, capsys):
    score(folder, "a.json")
    page = folder / f"page.{suffix}"
    page.write_text("# My own notes")
    call = ["report", str(folder / "a.json"), "--output"]
    assert refused(lambda: evaluation_main([*call, str(page)]), page).code == 2
    page.unlink()
    for _ in range(2):
        assert evaluation_main([*call, str(page)]) == 0
    other = folder / "page2.md"
    (folder / "page2_images").mkdir()
    assert refused(lambda: evaluation_main([*call, str(other)])).code == 2
    capsys.readouterr()
    assert refused(lambda: evaluation_main([*call, str(folder / "a.json")])).code == 2
    assert "which is that of result" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--output", "--html"])
def test_a_sheet_replaces_sheets_alone(folder, flag):
    paths = [str(folder / name) for name in ("images", "gt", "names.txt")]
    call = ["show", "mine", "--folder", "mine", *paths, flag]
    for name in ("images/a.png", "names.txt"):
        assert refused(lambda n=name: data_main([*call, str(folder / n)]), folder / name).code == 2
    sheet = folder / ("sheet.png" if flag == "--output" else "sheet.html")
    for _ in range(2):
        assert data_main([*call, str(sheet)]) == 0


def test_findings_replace_findings_alone(folder):
    paths = [str(folder / name) for name in ("images", "gt", "names.txt")]
    call = ["verify", "--folder", "mine", *paths, "--json"]
    file = folder / "names.json"
    assert refused(lambda: data_main([*call, str(file)]), file).code == 2
    assert [data_main([*call, str(folder / "found.json")]) for _ in range(2)] == [0, 0]


def test_similarities_replace_similarities_alone(folder):
    np.save(folder / "mine.npy", np.arange(5.0))
    config = "configs/mini/small_world.yaml"
    for name in ("names.txt", "mine.npy", "w.pth"):
        flags = ["--config-file", config, "--names", str(folder / "names.txt")]
        call = [*flags, "--output", str(folder / name)]
        error = refused(lambda c=call: similarity_main(c), folder / name)
        assert "--output: expected" in str(error)
    flags = ["--config-file", config, "--names", "cat; sky", "--output", str(folder / "near.npy")]
    for _ in range(2):
        assert similarity_main([*flags, "MODEL.TEXT.CACHE_DIR", ""]) == 0


def test_an_export_keeps_its_source_and_other_checkpoints(tmp_path):
    shipped = (ROOT / "stseg/assets/small_world/stseg_mini.pth").read_bytes()
    source, link = tmp_path / "a.pth", tmp_path / "link.pth"
    source.write_bytes(shipped)
    link.symlink_to(source)
    for target in (source, link, tmp_path / "sub" / ".." / "a.pth"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        assert "target: expected" in str(
            refused(lambda t=target: export_weights(str(source), str(t)), source)
        )
    strange = tmp_path / "photo.jpg"
    strange.write_bytes(b"a photograph")
    refused(lambda: export_weights(str(source), str(strange)), strange)
    for _ in range(2):  # of what ships, whose config its shapes tell
        export_weights(str(source), str(tmp_path / "b.pth"))


def test_the_small_world_is_drawn_into_no_folder_of_another_data_set(tmp_path):
    def prepare(out):
        counts = ["--train", "0", "--dev", "0", "--val", "1"]
        counts += ["--target-train", "0", "--target-dev", "0", "--target-val", "0"]
        script = ROOT / "datasets" / "prepare_scripts" / "prepare_small_world.py"
        command = [sys.executable, str(script), "--out", str(out), *counts]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "names.json").write_text("MINE")
    (tmp_path / "photos" / "images" / "val").mkdir(parents=True)
    (tmp_path / "photos" / "images" / "val" / "000000.png").write_text("mine")
    for out in ("mine", "photos"):
        before = sorted((tmp_path / out).rglob("*"))
        done = prepare(tmp_path / out)
        assert done.returncode == 2 and "--out: expected a new folder" in done.stderr
        assert sorted((tmp_path / out).rglob("*")) == before
    assert (tmp_path / "mine" / "names.json").read_text() == "MINE"
    assert [prepare(tmp_path / "new").returncode for _ in range(2)] == [0, 0]


def test_a_segmentation_is_not_saved_over_a_photograph(tmp_path):
    found = Segmentation(np.zeros((4, 4), np.int32), np.ones((4, 4), np.float32), ("a",))
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"a photograph")
    error = refused(lambda: found.save(tmp_path, "photo"), photo)
    assert "photo.png: expected no file" in str(error)
    for _ in range(2):
        found.save(tmp_path, "other")


def test_a_folder_is_no_output(tmp_path):
    with pytest.raises(ValueError, match="--output: expected a file to write"):
        check_output(tmp_path, "--output")
