"""The benchmark of the text side, on a tiny tower and few names."""

import json

import pytest

from benchmarks import text, text_tower
from benchmarks.text import main
from benchmarks.text_tower import vocabulary_of
from tests.helpers.tiny_model import CLIP_NAME, register


@pytest.fixture
def in_this_process(tmp_path, monkeypatch):
    """Measure here, where the tiny tower is known."""
    register(tmp_path)
    monkeypatch.setattr(text, "measured_apart", text_tower.measure)
    monkeypatch.setattr(text_tower, "matmul_gflops", lambda args: 100.0)


def test_it_reports_every_case_and_what_they_come_to(in_this_process, tmp_path, capsys):
    path = tmp_path / "out" / "text.json"
    flags = ["--names", "4", "--plain-names", "2", "--threads", "1", "--model", CLIP_NAME]
    report = main([*flags, "--json", str(path)])
    assert json.loads(path.read_text()) == report
    rows = {row["case"]: row for row in report["rows"]}
    assert {case: row["names"] for case, row in rows.items()} == {
        "cold": 4,
        "from memory": 4,
        "from disk": 4,
        "one class at a time": 2,
    }
    assert rows["one class at a time"]["difference"] < 1e-5
    assert 0 < rows["cold"]["gflops"] and rows["cold"]["peak_gflops"] == 100.0
    assert rows["from memory"]["seconds"] < rows["cold"]["seconds"] / 5
    assert report["minutes_for_all"] == pytest.approx(rows["cold"]["seconds"] / 4 * 1281 / 60)
    printed = capsys.readouterr().out
    assert "| from disk" in printed and "A name takes the plain way" in printed


def test_files_of_the_cold_run_answer_the_one_from_disk(in_this_process, tmp_path, monkeypatch):
    measured = []

    def measure(case, args, folder):
        before = len(list(tmp_path.rglob("*.tensor")))
        rows = text_tower.measure(case, args, str(tmp_path))
        measured.append((case, len(list(tmp_path.rglob("*.tensor"))) - before))
        return rows

    monkeypatch.setattr(text, "measured_apart", measure)
    main(["--names", "3", "--plain-names", "1", "--threads", "1", "--model", CLIP_NAME])
    assert measured == [("cold", 3), ("from disk", 0), ("one class at a time", 0)]


def test_the_names_are_those_of_ade_847_or_an_even_sample():
    whole = vocabulary_of(None)
    assert (len(whole), sum(map(len, whole.synonyms))) == (847, text.ALL_NAMES)
    assert vocabulary_of(3).names == vocabulary_of(6).names[::2]
    assert len(vocabulary_of(10_000)) < text.ALL_NAMES


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m benchmarks.text --names 20 --threads 1" in capsys.readouterr().out
