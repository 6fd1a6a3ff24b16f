"""The benchmark of preparing and loading, on a few tiny images."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import data_measurements
from benchmarks.data import WHAT, main
from benchmarks.data_measurements import MEASUREMENTS, check_equal
from tests.helpers.raw_trees import coco_stuff


@pytest.fixture
def root(tmp_path):
    """Raw COCO-Stuff of two images per split."""
    coco_stuff(tmp_path / "raw")
    for label in (tmp_path / "raw/coco-stuff/annotations").rglob("*.png"):
        image = tmp_path / "raw/coco-stuff/images" / label.parent.name / f"{label.stem}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), 99, np.uint8)).save(image)
    return tmp_path / "raw"


def test_it_reports_every_measurement_and_writes_them(root, tmp_path, capsys):
    path = tmp_path / "out" / "figures.json"
    main(["--images", "3", "--root", str(root), "--json", str(path)])
    report = json.loads(path.read_text())
    assert [row["jobs"] for row in report["prepare"]["rows"]] == [1, 2]
    assert all(row["images_per_second"] > 0 for row in report["prepare"]["rows"])
    for line in ("resize, crop, flip", "and colours"):
        rates = report["loader"][line]["rates"]
        ratio = rates["stseg"]["by_cpu"] / rates["detectron2"]["by_cpu"]
        assert report["loader"][line]["ratios"]["by_cpu"] == pytest.approx(ratio)
    assert 0 < sum(row["share"] for row in report["loader"]["profile"]) <= 1
    printed = capsys.readouterr().out
    assert "two jobs over one" in printed and "where our time goes" in printed


def test_one_measurement_alone_runs_on_synthetic_images(tmp_path, monkeypatch):
    monkeypatch.setattr(data_measurements, "DIFFERENT", 2)
    assert main(["prepare", "--images", "2"]).keys() & {"prepare", "loader"} == {"prepare"}


def test_mappers_that_disagree_are_an_error():
    item = {"image": torch.zeros(3, 2, 2), "sem_seg": torch.tensor([[0, 255]])}
    check_equal(item, {**item, "sem_seg": torch.tensor([[0, -1]])}, "a.jpg")
    with pytest.raises(RuntimeError, match=r"got others: a\.jpg"):
        check_equal(item, {**item, "sem_seg": torch.tensor([[1, -1]])}, "a.jpg")
    with pytest.raises(RuntimeError, match="the same pixels"):
        check_equal(item, {**item, "image": torch.ones(3, 2, 2)}, "a.jpg")


def test_every_measurement_can_be_asked_for():
    assert tuple(MEASUREMENTS) == WHAT


def test_an_unknown_measurement_and_an_empty_root_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "expected prepare, loader, got speed" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="raw COCO-Stuff"):
        main(["prepare", "--root", str(tmp_path)])
