"""What --resume refuses, and what it says of settings that differ."""

import logging

import pytest

from stseg.config import setup_cfg
from stseg.engine.run_folder import RunIdentity


def told(caplog, *opts):
    before = RunIdentity(setup_cfg())
    with caplog.at_level(logging.WARNING):
        RunIdentity(setup_cfg(opts=opts)).load_state_dict(before.state_dict())
    return caplog.text


def test_another_batch_is_another_run():
    before = RunIdentity(setup_cfg(opts=["SOLVER.IMS_PER_BATCH", "8"]))
    with pytest.raises(ValueError, match="got another: SOLVER.IMS_PER_BATCH 8 there and 4 now"):
        RunIdentity(setup_cfg()).load_state_dict(before.state_dict())


@pytest.mark.parametrize(
    "key, value",
    [
        ("SOLVER.MAX_ITER", "90000"),
        ("SOLVER.BASE_LR", "0.1"),
        ("INPUT.CROP.SIZE", "[64, 64]"),
        ("MODEL.LOSS.KIND", "softmax"),
        ("DATASETS.FOLDERS", "[['mine', 'images', 'labels', 'names.txt']]"),
        ("SELF_TRAINING.SOURCE.DATASETS", "('mine',)"),
    ],
)
def test_another_setting_is_told_with_both_values(caplog, key, value):
    text = told(caplog, key, value)
    assert f"goes on with other settings than it had: {key} " in text and " there and " in text


@pytest.mark.parametrize(
    "opts",
    [(), ("OUTPUT_DIR", "elsewhere", "DATALOADER.NUM_WORKERS", "1", "MODEL.WEIGHTS", "w.pth")],
)
def test_nothing_is_said_where_nothing_learnt_differs(caplog, opts):
    assert "--resume" not in told(caplog, *opts)


@pytest.mark.parametrize("before", [{}, {"SEED": 0}])
def test_checkpoints_of_before_are_resumed_in_silence(caplog, before):
    RunIdentity(setup_cfg()).load_state_dict(before)
    assert "--resume" not in caplog.text


def test_an_end_behind_the_checkpoint_is_refused_and_the_same_end_is_not(run_train_net, tmp_path):
    run_train_net()
    files = sorted(path.name for path in (tmp_path / "run").glob("*.pth"))
    with pytest.raises(ValueError, match=r"SOLVER.MAX_ITER: expected at least the 3 .* got 2\."):
        run_train_net("--resume", opts=("SOLVER.MAX_ITER", 2))
    assert sorted(path.name for path in (tmp_path / "run").glob("*.pth")) == files
    assert run_train_net("--resume", opts=("DATASETS.TEST", ())) == {}
