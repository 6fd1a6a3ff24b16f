"""Approximations measured on the shipped miniature and one of its scenes."""

import argparse

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.approximation_settings import Setting
from benchmarks.approximation_trials import Trial, difference, measure, measure_times
from benchmarks.approximations import show
from benchmarks.case_settings import Case
from stseg import Predictor, Vocabulary
from stseg.small_world.names import CLASS_NAMES
from stseg.small_world.scenes import render

MINI = "configs/mini/stseg_mini.yaml"


def scene_in(folder):
    scene = render(3, 0)
    record = {"file_name": str(folder / "0.png"), "sem_seg_file_name": str(folder / "label.png")}
    Image.fromarray(scene.image).save(record["file_name"])
    Image.fromarray(scene.label_map.astype(np.uint8)).save(record["sem_seg_file_name"])
    return record


def test_what_approximations_save_and_change(tmp_path, capsys):
    predictor = Predictor(MINI, device="cpu")
    model = predictor.model
    rows = measure(
        predictor,
        [scene_in(tmp_path)],
        Vocabulary.from_names(CLASS_NAMES),
        lambda path: np.array(Image.open(path)).astype(np.int64),
        [Setting.parse(text) for text in ("rank=80", "rank=1", "rank=80,dtype=bf16")],
    )
    exact, full, one, rounded = rows
    assert [row["setting"] for row in rows] == ["exact", "rank=80", "rank=1", "rank=80,dtype=bf16"]
    assert exact["changed"] == exact["mean"] == exact["largest"] == 0
    assert 0 < full["largest"] < 1e-4
    assert full["mIoU"] == pytest.approx(exact["mIoU"], abs=1e-3)
    assert full["largest"] < one["largest"] <= 1
    assert full["mean"] < one["mean"] < one["largest"]
    assert full["largest"] < rounded["largest"] < 0.3
    assert all(0 < row["decoder"] < row["whole"] for row in rows)
    assert model.head.latest_basis is None and model.dtype == "fp32"
    assert "forward" not in vars(model.head) and "predict" not in vars(model)
    show(rows)
    assert "pixels changed" in capsys.readouterr().out


def test_a_smaller_sam_is_for_models_with_sam():
    predictor = Predictor(MINI, device="cpu")
    with pytest.raises(ValueError, match="sam=64: expected a model with SAM"):
        with Trial(Setting.parse("sam=64"), predictor.model).applied():
            pass


def test_times_alone_are_taken_on_random_weights(capsys):
    case = Case(side="stseg", classes=3, image_size=64, answer="labels", config_file=MINI)
    rows = measure_times(case, 1, [Setting.parse("rank=4")])
    assert [row["setting"] for row in rows] == ["exact", "rank=4"]
    assert all(0 < row["decoder"] < row["whole"] for row in rows)
    show(rows)
    assert "mIoU" not in capsys.readouterr().out


def test_a_difference_is_one_of_probabilities():
    exact = [torch.zeros(1, 1, 1, 3), torch.zeros(1, 1, 1, 1)]
    scores = [torch.tensor([0.0, 100.0, 0.0]).reshape(1, 1, 1, 3), torch.zeros(1, 1, 1, 1)]
    assert difference(scores, exact).tolist() == [0.125, 0.5]


@pytest.mark.parametrize("text", ["rank", "rank=", "size=3", "rank=8;sam=3"])
def test_a_setting_that_is_none_is_refused(text):
    with pytest.raises((argparse.ArgumentTypeError, ValueError)):
        Setting.parse(text)
