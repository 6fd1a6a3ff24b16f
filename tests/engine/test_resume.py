import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from . import fakes

ROOT = Path(__file__).resolve().parents[2]
# Checkpoints and evaluations fall on the same iterations, dropout draws in every step.
OPTS = (
    "MODEL.META_ARCHITECTURE", "EngineTestDropoutNet",
    "SOLVER.MAX_ITER", 12,
    "SOLVER.CHECKPOINT_PERIOD", 4,
    "SOLVER.EMA.ENABLED", True,
    "TEST.EVAL_PERIOD", 4,
)  # fmt: skip
CLOCKS = ("time", "data_time", "rank_data_time", "eta_seconds")


def curve(folder):
    """The lines of metrics.json without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCKS} for line in lines]


def load(folder, name="model_final"):
    return torch.load(folder / f"{name}.pth", weights_only=True)


def assert_same_run(first, second):
    assert curve(first) == curve(second)
    one, two = load(first), load(second)
    for part in ("model", "ema"):
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])
    assert (first / "model_best.json").read_text() == (second / "model_best.json").read_text()


def train_until_killed(entry, folder, lines):
    """Start training in a process and kill it once metrics.json has some lines."""
    opts = fakes.make_opts(entry, folder, *OPTS)
    command = [sys.executable, "-m", "tests.engine.fakes", "--num-gpus", "0", *opts]
    env = {**os.environ, "ENGINE_TEST_DELAY": "0.2", "OMP_NUM_THREADS": "1"}
    log = folder.with_suffix(".log")
    with open(log, "wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
        metrics, deadline = folder / "metrics.json", time.monotonic() + 120
        while not metrics.is_file() or metrics.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        process.kill()
        process.wait()


@pytest.fixture
def uninterrupted(run_train_net, tmp_path):
    run_train_net(opts=OPTS, folder="whole")
    return tmp_path / "whole"


def test_resuming_after_a_kill_gives_the_curve_of_an_uninterrupted_run(
    entry, tmp_path, run_train_net, uninterrupted
):
    killed = tmp_path / "killed"
    train_until_killed(entry, killed, lines=6)
    assert not (killed / "model_final.pth").exists()
    assert (killed / "last_checkpoint").exists()
    run_train_net("--resume", opts=OPTS, folder="killed")
    assert [line["iteration"] for line in curve(killed)] == list(range(13))
    assert_same_run(killed, uninterrupted)


def test_an_evaluation_that_a_kill_prevented_is_made_up_for(tmp_path, run_train_net, uninterrupted):
    # The state a kill leaves between the checkpoint of iteration 7 and the end of its evaluation.
    killed = tmp_path / "killed"
    run_train_net(opts=OPTS, folder="killed")
    metrics = killed / "metrics.json"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:7]) + lines[7][:20])
    (killed / "last_checkpoint").write_text("model_0000007.pth")
    run_train_net("--resume", opts=OPTS, folder="killed")
    assert_same_run(killed, uninterrupted)


def test_starting_anew_in_an_old_folder_keeps_the_old_metrics(tmp_path, run_train_net):
    run_train_net()
    old = (tmp_path / "run" / "metrics.json").read_text()
    run_train_net()
    assert (tmp_path / "run" / "metrics.previous.json").read_text() == old
    assert [line["iteration"] for line in curve(tmp_path / "run")] == [0, 1, 2, 3]


def test_resuming_without_a_checkpoint_starts_from_the_beginning(tmp_path, run_train_net):
    run_train_net("--resume")
    assert [line["iteration"] for line in curve(tmp_path / "run")] == [0, 1, 2, 3]
