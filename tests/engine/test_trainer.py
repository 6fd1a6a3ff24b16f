import json
from dataclasses import replace

import pytest
import torch

from stseg.engine import Trainer
from stseg.engine.arguments import parse_args
from stseg.engine.processes import launch
from stseg.evaluation import STSegSemSegEvaluator, read_result, read_results
from stseg.modeling.scores.label_map import LabelMap

from . import fakes


def losses_of(folder):
    """(iteration, total loss) of every line of metrics.json that has a loss."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [(line["iteration"], line["total_loss"]) for line in lines if "total_loss" in line]


def weights_of(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_same(first, second, tolerance=0.0):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=tolerance)


def test_training_changes_what_learns_and_leaves_frozen_parts_alone(make_trainer):
    trainer = make_trainer()
    before = weights_of(trainer)
    trainer.train()
    after = weights_of(trainer)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if not name.startswith("text")}


def test_accumulating_gradients_gives_the_result_of_one_large_batch(make_trainer, tmp_path):
    runs = []
    for steps in (1, 2):
        trainer = make_trainer("SOLVER.ACCUMULATE_STEPS", steps, folder=f"steps{steps}")
        trainer.train()
        runs.append(weights_of(trainer))
    assert_same(*runs, tolerance=1e-5)
    one, two = losses_of(tmp_path / "steps1"), losses_of(tmp_path / "steps2")
    assert [loss for _, loss in one] == pytest.approx([loss for _, loss in two], abs=1e-5)


def test_two_processes_train_evaluate_and_resume_as_one(entry, tmp_path, run_train_net):
    more = ("SOLVER.ACCUMULATE_STEPS", 2, "DATALOADER.NUM_WORKERS", 1)
    opts = fakes.make_opts(entry, tmp_path / "two", *more)
    flags = ["--num-gpus", "0", "--num-cpu-processes", "2"]
    launch(fakes.train_and_resume, parse_args([*flags, *opts]))
    run_train_net(folder="one")
    one, two = (
        torch.load(tmp_path / name / "model_final.pth", weights_only=True)
        for name in ("one", "two")
    )
    assert_same(one["model"], two["model"], tolerance=1e-5)
    assert len(two["random_states"]) == 2
    assert [loss for _, loss in losses_of(tmp_path / "two")] == pytest.approx(
        [loss for _, loss in losses_of(tmp_path / "one")], abs=1e-5
    )
    one, two = (read_result(tmp_path / name / "results.json") for name in ("one", "two"))
    assert one == replace(two, provenance=one.provenance)
    # Each process goes on with its own random numbers, here for dropout.
    whole, resumed = (
        torch.load(tmp_path / f"two_{name}" / "model_final.pth", weights_only=True)
        for name in ("whole", "resumed")
    )
    assert_same(whole["model"], resumed["model"])
    first, second = (state["torch"] for state in whole["random_states"])
    assert not torch.equal(first, second)


def test_the_batch_must_divide_into_processes_and_micro_batches(make_trainer):
    with pytest.raises(
        ValueError, match=r"SOLVER.IMS_PER_BATCH: expected a multiple of 3 .* got 4"
    ):
        make_trainer("SOLVER.ACCUMULATE_STEPS", 3)


def test_a_loss_that_is_not_finite_stops_training_and_is_named(make_trainer):
    trainer = make_trainer()
    forward = trainer.model.forward

    def broken(batch):
        losses = forward(batch)
        return {**losses, "loss_aux": losses["loss_aux"] * float("nan")}

    trainer.model.forward = broken
    before = weights_of(trainer)
    with pytest.raises(FloatingPointError, match=r"'loss_aux': nan.* at iteration 0") as caught:
        trainer.train()
    assert "loss_main" not in str(caught.value)
    assert_same(before, weights_of(trainer))


@pytest.mark.parametrize("steps", [1, 2])
def test_a_gradient_that_is_not_finite_stops_training_before_the_weights_change(
    make_trainer, tmp_path, steps
):
    """The loss is finite: a root at 0 has a finite value and no finite slope."""
    trainer = make_trainer("SOLVER.ACCUMULATE_STEPS", steps, "SOLVER.IMS_PER_BATCH", 4)
    forward, calls = trainer.model.forward, []

    def broken(batch):
        losses, weight = forward(batch), trainer.model.clip.weight
        calls.append(1)
        root = (weight * 0).sum().sqrt() if len(calls) == steps + 1 else 0
        return {**losses, "loss_aux": losses["loss_aux"] + root}

    trainer.model.forward = broken
    with pytest.raises(FloatingPointError) as caught:
        trainer.train()
    text = str(caught.value)
    assert text.startswith("gradients: expected finite numbers, got NaN or infinity in 1 of 6 ")
    assert "(clip.weight) at iteration 1 (images " in text and ".png" in text
    assert all(p.isfinite().all() for p in trainer.model.parameters())
    assert not list(tmp_path.glob("run/*.pth"))


def test_a_loss_scale_leaves_out_such_steps_and_gives_up_after_many(make_trainer):
    trainer = make_trainer("SOLVER.MAX_ITER", 60)
    trainer._trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    forward, first = trainer.model.forward, 5

    def broken(batch):
        losses = forward(batch)
        if trainer.iter >= first:
            losses["loss_aux"] = losses["loss_aux"] + (trainer.model.head.bias * 0).sum().sqrt()
        return losses

    trainer.model.forward = broken
    with pytest.raises(FloatingPointError, match=r"in 20 steps, the last at iteration 24"):
        trainer.train()
    assert all(p.isfinite().all() for p in trainer.model.parameters())


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_mixed_precision_trains_on_the_cpu_in_bf16(make_trainer, dtype):
    trainer = make_trainer("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", dtype)
    seen = []
    trainer.model.head.register_forward_hook(lambda m, args, output: seen.append(output.dtype))
    trainer.train()
    assert seen[0] == torch.bfloat16
    assert seen[-1] == torch.float32  # evaluation
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


def test_gradients_are_unscaled_before_they_are_clipped(make_trainer, tmp_path):
    clip = ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.01)
    plain, scaled = make_trainer(*clip), make_trainer(*clip, folder="scaled")
    plain.train()
    scaled._trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    scaled.train()
    assert_same(weights_of(plain), weights_of(scaled), tolerance=1e-5)
    saved = torch.load(tmp_path / "scaled" / "model_final.pth", weights_only=True)
    assert saved["trainer"]["_trainer"]["grad_scaler"]["scale"] == 2.0**10


@pytest.mark.gpu
def test_mixed_precision_trains_on_a_gpu(make_trainer):
    for dtype in ("bf16", "fp16"):
        opts = ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", dtype, "MODEL.DEVICE", "cuda")
        trainer = make_trainer(*opts, folder=dtype)
        trainer.train()
        assert trainer._trainer.grad_scaler.is_enabled() == (dtype == "fp16")


def test_one_seed_gives_one_run_even_with_dropout(make_trainer, tmp_path):
    runs = []
    for name in ("a", "b"):
        make_trainer("MODEL.META_ARCHITECTURE", "EngineTestDropoutNet", folder=name).train()
        runs.append(losses_of(tmp_path / name))
    assert runs[0] == runs[1]


def test_evaluation_does_not_move_the_random_numbers_of_training(make_trainer, tmp_path):
    runs = []
    for period in (0, 1):
        make_trainer(
            "MODEL.META_ARCHITECTURE", "EngineTestDropoutNet", "TEST.EVAL_PERIOD", period,
            folder=f"period{period}",
        ).train()  # fmt: skip
        runs.append(losses_of(tmp_path / f"period{period}"))
    assert runs[0] == runs[1]


def test_all_listed_sets_are_evaluated_and_written(make_trainer, entry, tmp_path):
    second = fakes.make_data(tmp_path / "second", count=3)
    names = (entry[0], second[0])
    trainer = make_trainer("DATASETS.FOLDERS", [entry, second], "DATASETS.TEST", names)
    trainer.train()
    results = read_results(tmp_path / "run" / "results.json")
    assert list(results) == list(names)
    assert all(0 <= results[name].figures["mIoU_gt"] <= 1 for name in names)
    best = json.loads((tmp_path / "run" / "model_best.json").read_text())
    assert best["metric"] == f"{entry[0]}/sem_seg/mIoU"


def test_label_maps_are_asked_for_where_the_evaluator_takes_them(make_trainer, monkeypatch):
    trainer = make_trainer()
    trainer.model.eval()
    plain = Trainer.test(trainer.cfg, trainer.model)
    asked = []

    def label_maps(inputs, k=1):
        asked.append(trainer.model.training)
        return [LabelMap.of(output["sem_seg"], k) for output in trainer.model(inputs)]

    trainer.model.label_maps = label_maps
    streamed = Trainer.test(trainer.cfg, trainer.model.train())["sem_seg"]
    assert {k: v for k, v in streamed.items() if k not in ("ECE", "AURC")} == pytest.approx(
        plain["sem_seg"], nan_ok=True
    )
    assert asked and not any(asked) and trainer.model.training
    asked.clear()
    monkeypatch.setattr(STSegSemSegEvaluator, "takes_label_maps", False)
    assert Trainer.test(trainer.cfg, trainer.model)["sem_seg"].keys() == plain["sem_seg"].keys()
    assert not asked


def test_hooks_stand_in_the_documented_order(make_trainer):
    trainer = make_trainer("SOLVER.EMA.ENABLED", True)
    assert [type(hook).__name__ for hook in trainer._hooks] == [
        "IterationTimer", "LRScheduler", "SharedStatistics", "CallbackHook", "Checkpoints",
        "EvalHook", "KeepBest", "Writers",
    ]  # fmt: skip


def test_build_functions_can_be_overridden_as_in_detectron2(make_trainer):
    trainer = make_trainer()
    assert isinstance(Trainer.build_optimizer(trainer.cfg, trainer.model), torch.optim.AdamW)
    assert len(Trainer.build_test_loader(trainer.cfg, trainer.cfg.DATASETS.TEST[0])) == 10
