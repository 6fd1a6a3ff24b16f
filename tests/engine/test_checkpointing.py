import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stseg.checkpoint import checkpointer as checkpointing
from stseg.checkpoint.checkpointer import Checkpointer, load_for_evaluation
from stseg.engine.ema import WeightAverage
from stseg.evaluation.results import file_hash, read_result

from . import fakes


def test_a_kill_while_saving_leaves_the_previous_checkpoint_in_charge(tmp_path, monkeypatch):
    model = nn.Linear(2, 2)
    checkpointer = Checkpointer(model, str(tmp_path))
    checkpointer.save("first")
    first = {name: value.clone() for name, value in model.state_dict().items()}

    def killed(data, file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpointing.torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpointer.save("second")
    assert not (tmp_path / "second.pth").exists()
    nn.init.zeros_(model.weight)
    Checkpointer(model, str(tmp_path)).resume_or_load("", resume=True)
    assert torch.equal(model.weight, first["weight"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"\x80\x02}q\x00."])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"MODEL.WEIGHTS: expected .*"):
        load_for_evaluation(nn.Linear(2, 2), str(path))


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MODEL.WEIGHTS: .*nothing.pth"):
        load_for_evaluation(nn.Linear(2, 2), str(tmp_path / "nothing.pth"))


def test_a_checkpoint_of_another_model_is_refused_with_names_from_both(tmp_path):
    torch.save({"model": {"backbone.conv": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"weights of Linear \(weight.*match none \(backbone.conv"):
        load_for_evaluation(nn.Linear(2, 2), str(tmp_path / "other.pth"))


def test_the_moving_average_is_what_gets_evaluated(tmp_path):
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.9)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 1
    average.update()
    torch.save({"model": model.state_dict(), "ema": average.state_dict()}, tmp_path / "m.pth")
    loaded = nn.Linear(2, 2)
    load_for_evaluation(loaded, str(tmp_path / "m.pth"))
    torch.testing.assert_close(loaded.weight, start + 0.1)
    with average.applied():
        torch.testing.assert_close(model.weight, start + 0.1)
    torch.testing.assert_close(model.weight, start + 1)


def test_an_average_starts_from_the_weights_that_a_run_starts_from(make_trainer, tmp_path):
    start = make_trainer(seed=5, folder="start").model.state_dict()
    torch.save({"model": start}, tmp_path / "start.pth")
    weights = ("MODEL.WEIGHTS", str(tmp_path / "start.pth"))
    trainer = make_trainer("SOLVER.EMA.ENABLED", True, *weights)
    assert not torch.equal(trainer.average.state_dict()["head.weight"], start["head.weight"])
    trainer.resume_or_load(resume=False)
    assert all(torch.equal(v, start[n]) for n, v in trainer.average.state_dict().items())


def test_raw_weights_come_back_even_after_a_failure():
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.9)
    nn.init.ones_(model.weight)
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert (model.weight == 1).all()


def test_an_average_of_other_parameters_is_refused():
    average = WeightAverage(nn.Linear(2, 2), decay=0.5)
    with pytest.raises(ValueError, match="averages of the 2 .*'bias' is on one side"):
        average.load_state_dict({"head.weight": torch.zeros(1)})


def test_evaluating_a_run_uses_its_average_and_repeats_its_last_result(run_train_net, tmp_path):
    opts = ("SOLVER.EMA.ENABLED", True, "SOLVER.BASE_LR", 0.2, "SOLVER.EMA.DECAY", 0.9)
    run_train_net(opts=opts)
    file, final = tmp_path / "run" / "results.json", str(tmp_path / "run" / "model_final.pth")
    trained = read_result(file)
    file.unlink()
    results = run_train_net("--eval-only", "--resume", opts=opts)
    again = read_result(file)
    assert repr(replace(again, provenance=trained.provenance)) == repr(trained)
    assert (trained.provenance["weights"], again.provenance["weights"]) == (None, file_hash(final))
    assert run_train_net("--eval-only", opts=(*opts, "MODEL.WEIGHTS", final)) == results
    best = torch.load(tmp_path / "run" / "model_best.pth", weights_only=True)
    file = torch.load(final, weights_only=True)
    assert torch.equal(best["model"]["head.weight"], file["ema"]["head.weight"])
    assert not torch.equal(best["model"]["head.weight"], file["model"]["head.weight"])


def test_a_run_starts_from_a_part_of_a_file_by_a_key_and_resumes_from_whole_ones(
    make_trainer, tmp_path
):
    torch.save({"model": {"clip.bias": torch.full((8,), 3.0)}}, tmp_path / "part.pth")
    start = ("MODEL.WEIGHTS", str(tmp_path / "part.pth"))
    with pytest.raises(ValueError, match=r"MODEL.WEIGHTS: .* 7 tensors missing in the file"):
        make_trainer(*start).resume_or_load(resume=False)
    start = (*start, "MODEL.PARTIAL_WEIGHTS_ENABLED", True)
    trainer = make_trainer(*start)
    trainer.resume_or_load(resume=False)
    assert (trainer.model.clip.bias == 3).all()
    trainer.train()
    last = tmp_path / "run" / "model_final.pth"
    content = torch.load(last, weights_only=True)
    del content["model"]["head.weight"]
    torch.save(content, last)
    with pytest.raises(ValueError, match=r"MODEL.WEIGHTS: .* 1 tensors missing in the file"):
        make_trainer(*start).resume_or_load(resume=True)


def test_the_best_checkpoint_is_never_the_one_to_resume_from(run_train_net, tmp_path):
    run_train_net(opts=("TEST.EVAL_PERIOD", 1))
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_final.pth"
    record = json.loads((tmp_path / "run" / "model_best.json").read_text())
    best = torch.load(tmp_path / "run" / "model_best.pth", weights_only=True)
    assert best["value"] == record["value"]
    assert "trainer" not in best


def test_a_file_of_another_system_is_named_for_what_it_looks_like(tmp_path):
    keys = ("image_encoder.neck.0.weight", "mask_decoder.x.weight", "prompt_encoder.y.weight")
    torch.save({key: torch.zeros(1) for key in keys}, tmp_path / "sam.pth")
    with pytest.raises(ValueError, match=r"MODEL.WEIGHTS: .*looks like SAM"):
        load_for_evaluation(nn.Linear(2, 2), str(tmp_path / "sam.pth"))


def test_what_an_evaluation_counts_is_said_by_keys_and_its_result_names_the_weights(
    run_train_net, entry, tmp_path
):
    run_train_net()
    final = str(tmp_path / "run" / "model_final.pth")
    near = np.eye(3)
    near[0, 1] = near[1, 0] = 0.5
    np.save(tmp_path / f"near_{entry[0]}.npy", near)
    keys = {
        "BOUNDARY": True,
        "BOOTSTRAP": 20,
        "BOOTSTRAP_SEED": 3,
        "SIMILARITY": str(tmp_path / "near_{dataset}.npy"),
    }
    opts = [part for key, value in keys.items() for part in (f"TEST.EVALUATOR.{key}", value)]
    results = run_train_net("--eval-only", opts=("MODEL.WEIGHTS", final, *opts))
    assert {"boundary_mIoU_gt", "open_mIoU_gt", "mIoU_low"} < set(results["sem_seg"])
    found = read_result(tmp_path / "run" / "results.json")
    assert found.provenance["weights"] == file_hash(final)
    assert found.bootstrap["seed"] == 3
    assert found.similarity["credit"] == [0.5, 0.5]


def test_an_evaluation_that_was_stopped_asks_the_model_for_the_rest_only(
    run_train_net, tmp_path, monkeypatch
):
    run_train_net()
    opts = ("MODEL.WEIGHTS", str(tmp_path / "run" / "model_final.pth"))
    whole = run_train_net("--eval-only", opts=opts)
    opts = (*opts, "TEST.EVALUATOR.SAVE_EVERY", 1)
    asked, limit = [], 2

    def watched(model, inputs):
        asked.extend(item["file_name"] for item in inputs)
        if len(asked) > limit:
            raise KeyboardInterrupt
        return forward(model, inputs)

    forward = fakes.EngineTestNet.forward
    monkeypatch.setattr(fakes.EngineTestNet, "forward", watched)
    with pytest.raises(KeyboardInterrupt):
        run_train_net("--eval-only", opts=opts)
    first, limit = asked[:2], 99
    asked.clear()
    assert run_train_net("--eval-only", opts=opts) == whole
    assert asked and not set(asked) & set(first)
    asked.clear()
    assert run_train_net("--eval-only", opts=opts) == whole
    assert set(first) < set(asked)  # a finished evaluation begins anew


def test_only_a_system_of_this_project_with_weights_is_calibrated(run_train_net, tmp_path):
    run_train_net()
    final = str(tmp_path / "run" / "model_final.pth")
    target = str(tmp_path / "calibrated.pth")
    with pytest.raises(ValueError, match=r"--calibrate: .*got EngineTestNet and MODEL.WEIGHTS"):
        run_train_net("--eval-only", "--calibrate", target, opts=("MODEL.WEIGHTS", final))
    assert not (tmp_path / "calibrated.pth").exists()


def test_checkpoints_on_the_way_have_a_limit(run_train_net, tmp_path):
    run_train_net(opts=("SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.CHECKPOINTS_KEPT", 2))
    names = sorted(path.name for path in (tmp_path / "run").glob("model_*.pth"))
    assert names[:2] == ["model_0000001.pth", "model_0000002.pth"] and "model_final.pth" in names
    assert len([name for name in names if name[6].isdigit()]) == 2


def test_a_run_killed_before_its_final_checkpoint_gets_one_on_resuming(run_train_net, tmp_path):
    opts = ("SOLVER.CHECKPOINT_PERIOD", 1)
    run_train_net(opts=opts)
    final, last = (tmp_path / "run" / name for name in ("model_final.pth", "last_checkpoint"))
    whole = torch.load(final, weights_only=True)["model"]
    final.unlink()
    last.write_text("model_0000002.pth")
    run_train_net("--resume", opts=opts)
    again = torch.load(final, weights_only=True)["model"]
    assert all(torch.equal(again[name], whole[name]) for name in whole)
