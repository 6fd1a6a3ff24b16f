import json
import re
import shlex

import pytest

from stseg.cli import stseg_command
from stseg.cli.vocab import _EXAMPLES
from stseg.small_world import write_split

MINI = ["--config", "configs/mini/stseg_mini.yaml", "--device", "cpu"]


def run(capsys, *argv):
    try:
        code = stseg_command(["vocab", *argv])
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr()


def test_lint_fails_on_what_is_wrong_alone(capsys):
    code, text = run(capsys, "lint", "cat; dog; cat")
    assert code == 1 and text.out.startswith("WRONG duplicate")
    code, text = run(capsys, "lint", "trafficlight; dog")
    assert code == 0 and "note  glued" in text.out and "-> If so, write it" in text.out
    code, text = run(capsys, "lint", "cat; dog")
    assert code == 0 and text.out.startswith("Nothing to remark. With --config")
    code, text = run(capsys, "lint", "cat; 7", "--json")
    assert [seen["subject"] for seen in json.loads(text.out)] == ["number"]


def test_wrong_use_is_told(capsys):
    assert run(capsys, "lint", "nowhere/names.txt")[0] == 1
    assert run(capsys, "lint", "cat", "--weights", "x.pth")[0] == 2
    assert run(capsys, "probe", "cat; dog", *MINI)[0] == 2
    assert run(capsys, "probe", "cat; dog", "a.png", "--data", "b", *MINI)[0] == 2


def test_lint_asks_a_model(capsys):
    code, text = run(capsys, "lint", "star; bush; plastic", *MINI)
    assert code == 0 and re.search(r"'bush' and 'plastic': cosine 0\.99", text.out)
    assert "star" not in text.out
    code, text = run(capsys, "lint", "star; star", *MINI)
    assert code == 1 and "The model was not asked" in text.out


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    write_split(tmp_path / "small_world", "val", 1)
    return tmp_path / "small_world/images/val"


def test_probe_shows_how_answers_move(scenes, capsys):
    code, text = run(capsys, "probe", "tree, star; sand, beach; sky", str(scenes), *MINI)
    assert code == 0 and "mIoU" not in text.out
    assert re.search(r"as given +3 +0\.0 %", text.out)
    assert re.search(r"another order +3 +0\.0 %", text.out)
    assert re.search(r"2\d distractors +2\d ", text.out)
    assert re.search(r"sand +beach +\d+\.\d %", text.out)


def test_probe_scores_with_labels(scenes, capsys):
    argv = ["--data", "small_world_val_sem_seg", *MINI, "--json", "--distractors", "purple; noise"]
    code, text = run(capsys, "probe", "vocab:small_world", *argv)
    given, order, others = json.loads(text.out)
    assert code == 0 and given["mIoU"] == order["mIoU"] > 0.3 and others["names"] == 33
    code, text = run(capsys, "probe", "cat; dog", *argv)
    assert code == 1 and "expected the 31 classes of small_world_val_sem_seg" in text.err


def test_the_examples_of_help_run_as_far_as_their_files_are_here(scenes, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("star\nsky\n")
    text = re.sub(r"names\.(txt|json)", str(names), _EXAMPLES.replace("\\\n", ""))
    text = text.replace("vocab:ade20k_150", "vocab:small_world").replace("photos/", str(scenes))
    examples = re.findall("^  stseg vocab (.*)", text, flags=re.MULTILINE)
    here = [words for words in map(shlex.split, examples) if "weights://sed-convnextB" not in words]
    assert len(here) == len(examples) - 1 == 4
    assert [run(capsys, *words)[0] for words in here[:3]] == [0, 0, 0]
    code, said = run(capsys, *here[3])
    assert code == 1 and "street" in said.err
