"""The benchmark of label maps, on a few classes."""

import json

import pytest

from benchmarks import labels
from benchmarks.labels import SIDES, check_equal, main, measure


def test_it_reports_every_side_of_every_case_and_writes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(labels, "CASES", ((3, 40, 50), (10**6, 40, 50)))
    monkeypatch.setattr(
        labels, "measured_apart", lambda side, case, *_: measure(side, (5, 40, 50), "rough", 1)
    )
    path = tmp_path / "out" / "figures.json"
    main(["--repeats", "1", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 2 * (2 * len(SIDES) - 1)  # plain is left out of the large case
    assert all(row["seconds"] > 0 for row in rows)
    assert len({row["label_sum"] for row in rows}) == 1
    printed = capsys.readouterr().out
    assert all(side in printed for side in SIDES)


def test_one_line_runs_in_its_own_process():
    figures = labels.measured_apart("streamed_k3", (4, 30, 20), "smooth", 1)
    assert figures["label_sum"] >= 0 and figures["confidence_sum"] > 0


def test_sides_that_disagree_are_an_error():
    check_equal([{"confidence_sum": 5.0}, {"confidence_sum": 5.000001}])
    with pytest.raises(RuntimeError, match="the same confidences"):
        check_equal([{"confidence_sum": 5.0}, {"confidence_sum": 5.1}])
