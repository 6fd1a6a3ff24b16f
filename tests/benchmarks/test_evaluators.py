"""The benchmark of the evaluators, on two images."""

import json

import numpy as np
import pytest

from benchmarks import evaluators
from benchmarks.evaluators import PAIRS, SIDES, main, regions


def test_it_reports_both_sides_and_their_ratios(tmp_path, capsys, monkeypatch):
    def fake(side, classes, images):
        slow = 4.0 if side.startswith("detectron2") else 1.0
        keys = ("peak_mib", "added_mib", "growth_kib")
        figures = dict.fromkeys(keys, 7.0) | {"seconds": slow, "cpu_seconds": slow, "mIoU": 50.0}
        return figures

    monkeypatch.setattr(evaluators, "measured_apart", fake)
    path = tmp_path / "out" / "figures.json"
    main(["--images", "2", "--json", str(path)])
    report = json.loads(path.read_text())
    assert len(report["rows"]) == 3 * len(SIDES) and len(report["ratios"]) == 3 * len(PAIRS)
    assert {row["wall"] for row in report["ratios"]} == {4.0}
    printed = capsys.readouterr().out
    assert all(side in printed for side in SIDES) and "4.0x" in printed


def test_sides_that_disagree_are_an_error(monkeypatch):
    answers = iter(range(99))
    monkeypatch.setattr(
        evaluators, "measured_apart", lambda *_: {"mIoU": float(next(answers)), "seconds": 1.0}
    )
    with pytest.raises(RuntimeError, match="20 classes: expected one mIoU"):
        main(["--images", "2", "--classes", "20"])


def test_the_maps_hold_many_classes_and_mistakes():
    label, prediction = regions(847, seed=1)
    assert label.shape == prediction.shape == evaluators.SIZE
    assert len(np.unique(label)) >= 15 and 0.6 < (label == prediction).mean() < 0.95


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m benchmarks.evaluators --images 200" in capsys.readouterr().out
