import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stseg.evaluation import evaluation_command as main
from stseg.evaluation.results import read_result
from tests.helpers.label_folders import NAMES, save, write_folders

ROOT = Path(__file__).resolve().parents[2]

FEW_PACKAGES = """
import runpy, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in sys.stdlib_module_names and top not in ("stseg", *{allowed}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Block())
for module in ("torch", "cv2", "detectron2"):
    try:
        __import__(module)
    except ModuleNotFoundError:
        continue
    raise AssertionError(module)
runpy.run_module("stseg.evaluation", run_name="__main__")
"""


def run_bare(*arguments, more=()):
    """`python -m stseg.evaluation` where nothing but NumPy and Pillow can be imported, or more."""
    code = FEW_PACKAGES.format(allowed=("numpy", "PIL", *more))
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path):
    write_folders(tmp_path, 4)
    return tmp_path


def score(folder, *more, pred="pred", names="names.json", output="a.json"):
    return main(
        ["score", "--pred", str(folder / pred), "--gt", str(folder / "gt")]
        + ["--names", str(folder / names), "--output", str(folder / output), *map(str, more)]
    )


def refused(capsys, *arguments, **options):
    with pytest.raises(SystemExit) as caught:
        score(*arguments, **options)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_a_hundred_maps_are_scored_with_numpy_and_pillow_alone(tmp_path):
    pixels = write_folders(tmp_path, 100)
    folders = ["--pred", tmp_path / "pred", "--gt", tmp_path / "gt"]
    names = ["--names", tmp_path / "names.json", "--seen", "wall; cat"]
    output = tmp_path / "a.json"
    extra = ["--boundary", "--bootstrap", 20, "--jobs", 2, "--output", output]
    done = run_bare("score", *folders, *names, *extra)
    assert done.returncode == 0, done.stderr
    assert "100 images, 6 classes of which 4 are in the labels" in done.stdout
    kept = pixels["label"] != 255
    right = (pixels["label"] == pixels["prediction"])[kept].mean()
    assert read_result(output).figures["pACC"] == pytest.approx(right, abs=1e-12)
    assert re.search(rf"pACC +{100 * right:.2f} ", done.stdout)
    done = run_bare("compare", output, output)
    assert done.returncode == 0 and "+0.00" in done.stdout, done.stderr
    for page, more in (("a.md", ()), ("a.html", ("jinja2", "markupsafe"))):
        done = run_bare("report", output, "--output", tmp_path / page, "--worst", 2, more=more)
        assert done.returncode == 0 and (tmp_path / page).is_file(), done.stderr
    done = run_bare("report", output, "--output", tmp_path / "b.html", "--worst", 2)
    assert done.returncode == 2 and not (tmp_path / "b.html").exists()
    assert "error: HTML page: expected the package jinja2, got none." in done.stderr


@pytest.mark.parametrize("command", [(), ("score",), ("compare",), ("report",)])
def test_every_command_prints_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    example = f"python -m stseg.evaluation {' '.join(command)}".strip()
    assert example in text.split("example")[1]
    assert "%" not in text.replace("95 %", "")


def test_the_examples_of_the_help_are_commands_that_exist(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    for old, new in (("gt", "labels"), ("pred", "out"), ("photos", "images")):
        (folder / old).rename(folder / new)
    texts = []
    for command in ((), ("score",), ("compare",), ("report",)):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        texts.append(capsys.readouterr().out.replace("\\\n", " "))
    lines = re.findall(r"^  python -m stseg\.evaluation (.+)$", "\n".join(texts), re.MULTILINE)
    assert len(lines) == 7
    for line in lines:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
        if words[0] == "compare":
            (folder / "b.json").write_bytes((folder / "a.json").read_bytes())
        assert main(words) == 0, line


def test_two_runs_are_compared_figure_by_figure(folder, capsys):
    (folder / "perfect").mkdir()
    for path in (folder / "gt").glob("*.png"):
        (folder / "perfect" / path.name).write_bytes(path.read_bytes())
    assert score(folder) == 0
    assert score(folder, "--seen", "wall", pred="perfect", output="b.json") == 0
    capsys.readouterr()
    assert main(["compare", str(folder / "a.json"), str(folder / "b.json")]) == 0
    text = capsys.readouterr().out
    before = 100 * read_result(folder / "a.json").figures["mIoU_gt"]
    assert re.search(rf"mIoU_gt +{before:.2f} +100.00 +\+{100 - before:.2f}", text)
    assert "seen_mIoU" not in text  # only one of the two states it
    assert re.search(r"gained: .*wall \+", text) and "lost: none" in text


def test_a_change_is_tested_where_both_runs_have_the_same_replicates(folder, capsys):
    write_folders(folder, 30)
    shutil.copytree(folder / "gt", folder / "perfect")
    arguments = ["compare", str(folder / "a.json"), str(folder / "b.json")]
    for seed, said in (
        (
            "0",
            r"mIoU_gt \+[\d.]+, 95 % interval \+.* p = 0.0198, the floor of 100 .*: p < 0.0198",
        ),
        ("1", "differ"),
    ):
        assert score(folder, "--bootstrap", 100) == 0
        assert (
            score(folder, "--bootstrap", 100, "--seed", seed, pred="perfect", output="b.json") == 0
        )
        capsys.readouterr()
        assert main(arguments) == 0
        assert re.search(said, capsys.readouterr().out)
    assert score(folder) == 0
    capsys.readouterr()
    assert main(arguments) == 0
    assert "Not tested: score both with --bootstrap" in capsys.readouterr().out


def test_unlike_protocols_are_refused_and_the_fields_named(folder, capsys):
    assert score(folder) == score(folder, "--ignore", 255, 0, output="b.json") == 0
    capsys.readouterr()
    assert main(["compare", str(folder / "a.json"), str(folder / "b.json")]) == 1
    said = capsys.readouterr()
    assert "expected like protocols, got different truth, ignore." in said.err
    assert re.search(r"ignore +\(255,\) +\(0, 255\)", said.err)
    assert not said.out


def test_the_ignored_id_comes_from_the_names_file_unless_given(folder, capsys):
    content = {"classes": list(NAMES), "ignore": 3, "seen": ["wall"]}
    (folder / "names.json").write_text(json.dumps(content))
    said = refused(capsys, folder)
    assert "000.png: expected ids 0 to 5" in said and "got 255" in said
    assert score(folder, "--ignore", 3, 255) == 0
    result = read_result(folder / "a.json")
    assert result.protocol.ignore == (3, 255)
    assert result.figures["seen_mIoU"] == result.classes[0]["iou"]


def test_a_side_without_classes_is_stated(folder, capsys, caplog):
    assert score(folder, "--seen", "bird") == 0
    assert "No seen class occurs in the labels" in caplog.text
    assert re.search(r"harmonic_mIoU +undefined", capsys.readouterr().out)


def test_a_list_chooses_the_images(folder):
    (folder / "list.txt").write_text("001\n\n003.jpg\n")
    (folder / "pred" / "000.png").unlink()
    assert score(folder, "--images", folder / "list.txt", "--data-set", "toy") == 0
    result = read_result(folder / "a.json")
    assert [row["name"] for row in result.images] == ["001", "003"]
    assert result.protocol.data_set == "toy"


def test_with_a_background_class_all_later_ids_count_as_it(folder, capsys):
    (folder / "names.json").write_text(json.dumps(NAMES[:4]))
    assert "expected ids 0 to 3" in refused(capsys, folder)
    assert score(folder, "--fold-background") == 0
    result = read_result(folder / "a.json")
    assert result.protocol.fold_background
    assert result.figures["mIoU_gt"] == result.figures["mIoU_union"]
    assert main(["report", str(folder / "a.json"), "--output", str(folder / "a.html")]) == 0


def test_the_command_can_be_read_from_the_result(folder):
    weights = folder / "w.pth"
    weights.write_bytes(b"w")
    assert score(folder, "--weights", weights, "--interest", "sky; dog") == 0
    result = read_result(folder / "a.json")
    assert result.protocol.interest is not None and "interest_mIoU" in result.figures
    provenance = result.provenance
    assert provenance["command"].startswith("python -m stseg.evaluation score --pred ")
    assert len(provenance["weights"]) == 64
    assert provenance["pred"] == str(folder / "pred")


def test_near_names_get_credit_and_another_matrix_is_another_figure(folder, capsys):
    near = np.full((len(NAMES), len(NAMES)), 0.5)
    np.fill_diagonal(near, 1)
    for name, values in (("a", near), ("b", np.eye(len(NAMES)))):
        np.save(folder / f"{name}.npy", values)
        more = ["--similarity", folder / f"{name}.npy"]
        assert score(folder, *more, output=f"{name}.json") == 0
    a, b = (read_result(folder / f"{name}.json") for name in "ab")
    assert a.figures["open_mIoU_gt"] > a.figures["mIoU_gt"] == b.figures["mIoU_gt"]
    assert b.figures["open_mIoU_gt"] == pytest.approx(b.figures["mIoU_gt"])
    assert set(a.similarity["credit"]) == {0.5} and b.similarity["credit"] == []
    assert len(a.similarity["true"]) == len(NAMES) * (len(NAMES) - 1)
    assert main(["compare", str(folder / "a.json"), str(folder / "b.json")]) == 1
    assert "different definitions.open_mIoU_gt." in capsys.readouterr().err
    np.savez(folder / "many.npy.npz", near, near)
    for bad in ("many.npy.npz", "names.json"):
        assert f"{bad}: expected one array" in refused(capsys, folder, "--similarity", folder / bad)


def test_faulty_folders_are_refused_by_the_file(folder, capsys):
    (folder / "pred" / "002.png").rename(folder / "002.png")
    assert "pred: expected a prediction for every label" in refused(capsys, folder)
    save(folder / "pred" / "002.png", np.zeros((20, 30, 3), dtype=np.uint8))
    assert re.search(r"002\.png: .*mode RGB", refused(capsys, folder))
    save(folder / "pred" / "002.png", np.zeros((20, 31), dtype=np.uint8))
    assert re.search(r"002\.png: expected the size", refused(capsys, folder))
    save(folder / "pred" / "002.tif", np.zeros((22, 30), dtype=np.uint8))
    assert "002.png and 002.tif" in refused(capsys, folder)
    assert not (folder / "a.json").exists()


def test_a_name_given_twice_is_refused_with_its_file(folder, capsys):
    (folder / "names.json").write_text('["wall", "sky", "Wall", "x", "y", "z"]')
    assert re.search(r"class 3: .*'Wall'.*names\.json", refused(capsys, folder))
    (folder / "names.json").write_text(
        '{"classes": ["wall", "sky", "wall, brick", "x", "y", "z"], "allow_shared_names": true}'
    )
    assert score(folder) == 0


def test_progress_is_shown_to_a_person_only(folder, capsys, monkeypatch):
    assert score(folder) == 0
    assert "of 4" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert score(folder) == 0
    assert capsys.readouterr().err.endswith("\r4 of 4\n")
