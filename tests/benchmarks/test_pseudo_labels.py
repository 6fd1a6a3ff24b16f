"""The benchmark of pseudo-labelling, on a tiny SAM."""

import json

import pytest

from benchmarks.pseudo_label_sides import LINES, tiling
from benchmarks.pseudo_labels import main
from tests.helpers.tiny_model import SAM_NAME, register


def test_it_reports_three_ratios_and_the_same_masks(tmp_path, capsys):
    register(tmp_path)
    path = tmp_path / "out" / "figures.json"
    main(["--model", SAM_NAME, "--no-memory", "--batch-size", "3", "--json", str(path)])
    report = json.loads(path.read_text())
    assert list(report["lines"]) == list(LINES)
    assert all(row["ratio"] > 0 for row in report["lines"].values())
    assert report["masks"] == 20
    assert report["mask_iou_min"] > 0.99
    printed = capsys.readouterr().out
    assert all(line in printed for line in LINES)


def test_the_tiles_cover_the_image_once_and_have_irregular_borders():
    masks = tiling(128, 20, seed=1)
    assert (masks.sum(0) == 1).all()
    assert masks.any((1, 2)).all()
    assert not (masks[0] == masks[0][:1]).all()


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m benchmarks.pseudo_labels --images 1" in capsys.readouterr().out
