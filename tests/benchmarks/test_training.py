"""The benchmark of training steps, on a model of one convolution and without a reference."""

import json

import pytest
import torch
from torch.nn import functional as F

from benchmarks import training
from benchmarks.case_settings import OURS, TrainingCase
from benchmarks.live_bytes import LiveBytes
from benchmarks.training import REFERENCE, main
from benchmarks.training_case import compare, count, measure, samples


def small_model(device="cpu", scale=1.0):
    torch.manual_seed(0)
    model = torch.nn.Conv2d(3, 4, 3, padding=1).to(device)
    images = torch.rand(1, 3, 16, 16, device=device)

    def losses():
        y = model(images)
        return {"loss_sem_seg_0": scale * F.softplus(y).mean(), "loss_sem_seg_1": y.square().mean()}

    return model, losses


def fake(case, python):
    assert python
    theirs = case.side == REFERENCE
    figures = {
        "best_s": 4.0,
        "median_s": 4.0,
        "cpu_s": 4.0,
        "before_mib": 1.0,
        "peak_mib": 8.0,
        "added_mib": 7.0,
    }
    if not theirs:
        figures |= {"best_s": 2.0, "peak_mib": 4.0}
        figures["difference"] = dict.fromkeys(("loss", "gradient", "worst"), 1e-7)
        figures["difference"]["worst_name"] = "head.weight"
    return {**figures, "losses": {"loss_sem_seg_0": 1.5}, "gradient_norm": 3.0}


def test_it_reports_all_sides_and_their_ratios(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "measured_apart", fake)
    path = tmp_path / "out" / "figures.json"
    main(["--reference", str(tmp_path), "--json", str(path)])
    report = json.loads(path.read_text())
    assert [row["side"] for row in report["rows"]] == [REFERENCE, *OURS]
    assert {(x["peak_mib"], x["best_s"]) for x in report["ratios"]} == {(0.5, 0.5)}
    printed = capsys.readouterr().out
    assert all(side in printed for side in OURS) and "head.weight" in printed


def test_without_a_reference_there_are_no_ratios(monkeypatch):
    monkeypatch.setattr(training, "measured_apart", fake)
    report = main(["--sides", "stseg"])
    assert len(report["rows"]) == 1 and report["ratios"] == []


@pytest.mark.parametrize(
    "wrong", [["--crop", "100"], ["--steps", "0"], ["--device", "meta", "--reference", "x"]]
)
def test_a_wrong_flag_is_named(wrong, capsys):
    with pytest.raises(SystemExit):
        main(wrong)
    assert wrong[0] in capsys.readouterr().err


def test_a_case_is_timed_and_compared_with_the_one_before(tmp_path):
    shared = {"steps": 1, "folder": str(tmp_path)}
    first = measure(TrainingCase(side=REFERENCE, **shared), small_model())
    again = measure(TrainingCase(side="stseg", **shared), small_model())
    assert first["best_s"] > 0 and first["peak_mib"] >= first["before_mib"]
    assert again["losses"] == first["losses"] and "difference" not in first
    assert again["difference"]["loss"] == again["difference"]["gradient"] == 0
    other = measure(TrainingCase(side="stseg", **shared), small_model(scale=1.1))
    assert other["difference"]["loss"] == pytest.approx(0.1, rel=1e-5)
    assert other["difference"]["gradient"] > 1e-3


def test_a_side_that_trains_something_else_is_an_error():
    one, two = {"a": torch.ones(2)}, {"a": torch.ones(2), "b": torch.ones(2)}
    with pytest.raises(RuntimeError, match="'b'"):
        compare({"x": 1.0}, one, {"x": 1.0}, two)
    assert compare({"x": 1.0}, one, {"x": 1.0}, {**one, "b": None})["worst_name"] == "a"


def test_samples_are_the_same_for_both_sides_but_for_the_ignored_label():
    case = TrainingCase(side="stseg", batch=2, crop=96, classes=5)
    ours, theirs = samples(case, -1), samples(case, 255)
    for a, b in zip(ours, theirs, strict=True):
        assert a["image"].shape == (3, 96, 96) and torch.equal(a["image"], b["image"])
        assert a["sem_seg"].shape == (96, 96) and set(a["sem_seg"].unique().tolist()) <= {
            *range(-1, 5)
        }
        assert torch.equal(a["sem_seg"].where(a["sem_seg"] >= 0, 255), b["sem_seg"])


def test_on_the_meta_device_bytes_are_counted():
    figures = count(*small_model("meta"))
    weights = 3 * (3 * 4 * 9 + 4) * 4  # parameters and two moments, float32
    assert weights <= figures["before_mib"] * 2**20 <= weights + 3 * 16 * 16 * 4 + 64
    # At least the convolution's output and its gradient.
    assert figures["added_mib"] * 2**20 >= 2 * 4 * 16 * 16 * 4


def test_live_bytes_forgets_what_is_freed():
    with LiveBytes() as live:
        a = torch.zeros(1000)
        b = a.view(10, 100) + 1
        assert live.now == 8000
        del a
        assert live.now == 4000 and live.peak == 8000
        live.reset()
        assert live.peak == 4000
    assert b.sum() == 1000


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m benchmarks.training --reference" in capsys.readouterr().out
