"""Calibration of label maps on disk: `score --confidence`."""

import json

import numpy as np
import pytest
from PIL import Image

from stseg.evaluation import ConfidenceHistogram
from stseg.evaluation import evaluation_command as main
from stseg.evaluation.results import read_result
from stseg.structures import Segmentation
from tests.helpers.label_folders import save

NAMES = ("a", "b", "c")


@pytest.fixture
def folder(tmp_path):
    """Answers as `stseg predict --save labels,confidence` leaves them, and labels."""
    rng = np.random.default_rng(0)
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    for stem in ("x", "y"):
        label = rng.integers(0, 3, (10, 12)).astype(np.uint8)
        answer = np.where(rng.random(label.shape) < 0.3, 0, label).astype(np.int32)
        confidence = rng.random(label.shape).astype(np.float32)
        label[0] = 255
        save(tmp_path / "gt" / f"{stem}.png", label)
        found = Segmentation(answer, confidence, NAMES)
        found.save(tmp_path / "pred", stem, kinds=["labels", "confidence"])
    return tmp_path


def score(folder, confidence, *more):
    arguments = ["--pred", folder / "pred", "--gt", folder / "gt", "--names", folder / "names.json"]
    arguments += ["--output", folder / "a.json", "--confidence", folder / confidence, *more]
    return main(["score", *map(str, arguments)])


def expected(folder, levels):
    histogram = ConfidenceHistogram()
    for stem in ("x", "y"):
        label = np.array(Image.open(folder / "gt" / f"{stem}.png"))
        answer = np.array(Image.open(folder / "pred" / f"{stem}.png"))
        scored = label != 255
        histogram.update(levels(stem)[scored], (label == answer)[scored])
    return histogram


def test_confidences_beside_the_predictions_give_both_figures(folder, capsys):
    def levels(stem):
        return np.array(Image.open(folder / "pred" / f"{stem}_confidence.png")) / 255

    assert score(folder, "pred", "--jobs", "2") == 0
    result, known = read_result(folder / "a.json"), expected(folder, levels)
    assert result.figures["ECE"] == known.ece() > 0.1
    assert result.figures["AURC"] == known.aurc()
    assert {"ECE", "AURC"} <= set(result.definitions)
    assert result.provenance["confidence"].endswith("pred")
    assert "AURC" in capsys.readouterr().out


def test_sixteen_bits_in_a_folder_of_their_own(folder):
    made = {stem: np.random.default_rng(1).random((10, 12)) for stem in ("x", "y")}
    for stem, values in made.items():
        save(folder / "sure" / f"{stem}.png", (65535 * values).round().astype(np.uint16))
    assert score(folder, "sure") == 0
    known = expected(folder, lambda stem: (65535 * made[stem]).round() / 65535)
    assert read_result(folder / "a.json").figures["AURC"] == known.aurc()


def test_without_confidences_there_are_no_such_figures(folder):
    arguments = ["--pred", folder / "pred", "--gt", folder / "gt", "--names", folder / "names.json"]
    assert main(["score", *map(str, arguments), "--output", str(folder / "b.json")]) == 0
    assert "ECE" not in read_result(folder / "b.json").figures


@pytest.mark.parametrize(
    "array, says",
    [
        (np.zeros((10, 12, 3), np.uint8), "grey of 8 or 16 bits, got a picture of mode RGB"),
        (np.zeros((5, 12), np.uint8), "size of the label map, 12 x 10, got 12 x 5"),
        (np.zeros((10, 12), bool), "grey of 8 or 16 bits"),
        (None, "expected a PNG"),
    ],
)
def test_what_is_no_confidence_is_refused_by_file(folder, array, says, capsys):
    path = folder / "pred" / "y_confidence.png"
    path.write_bytes(b"<html>") if array is None else save(path, array)
    with pytest.raises(SystemExit) as caught:
        score(folder, "pred")
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert says in error and "y_confidence.png" in error


def test_missing_confidences_are_counted(folder, capsys):
    (folder / "pred" / "y_confidence.png").unlink()
    for place in ("pred", "gt"):  # a label map is no confidence
        with pytest.raises(SystemExit):
            score(folder, place)
    assert "got none for y (1 of 2)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        score(folder, "nowhere")


def test_an_ignored_id_that_is_a_class_is_told(folder, caplog):
    assert score(folder, "pred", "--ignore", "255", "1") == 0
    assert "Ignored id 1 is also the class 'b'" in caplog.text
