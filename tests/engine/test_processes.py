import pytest

from stseg.engine import train_command
from stseg.engine.arguments import argument_parser, check_args, parse_args
from stseg.engine.processes import launch


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ["--num-gpus", "-1"],
            "--num-gpus: expected 0 to 2, the GPUs that torch sees here, got -1",
        ),
        (["--num-gpus", "3"], "--num-gpus: expected 0 to 2"),
        (["--num-gpus", "0", "--num-cpu-processes", "0"], "--num-cpu-processes: .* at least 1"),
        (["--num-gpus", "1", "--num-cpu-processes", "2"], "1 unless --num-gpus is 0, got 2"),
        (["--num-machines", "0"], "--num-machines: expected at least 1, got 0"),
        (["--num-machines", "2", "--machine-rank", "2"], "--machine-rank: expected 0 to 1"),
        (["--num-machines", "2"], "--dist-url: expected tcp://HOST:PORT"),
        (["SOLVER.MAX_ITER"], "KEY VALUE: expected pairs"),
        (["--calibrate", "a.pth"], "--calibrate: expected --eval-only, .* with it, got 'a.pth'"),
        (["--eval-only", "--dry-run", "2", "--calibrate", "a.pth"], "neither --dry-run nor"),
    ],
)
def test_a_flag_out_of_range_is_named(flags, message):
    with pytest.raises(ValueError, match=message):
        check_args(argument_parser().parse_args(flags), num_gpus_present=2)


def test_a_bad_flag_ends_the_program_with_a_message(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_args(["--num-gpus", "-1"])
    assert caught.value.code == 2
    assert "--num-gpus: expected" in capsys.readouterr().err


def test_one_process_runs_here_and_returns_its_result():
    args = parse_args(["--num-gpus", "0", "SOLVER.MAX_ITER", "3"])
    assert launch(lambda given: given.opts, args) == ["SOLVER.MAX_ITER", "3"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config-file", "nothing.yaml"], "nothing.yaml"),
        (["SOLVER.MAXITER", "3"], "SOLVER.MAX_ITER"),
    ],
)
def test_a_config_mistake_ends_train_net_with_one_line(monkeypatch, arguments, message):
    monkeypatch.setattr("sys.argv", ["train_net.py", *arguments])
    with pytest.raises(SystemExit, match=message):
        train_command()


def test_a_missing_data_set_is_named(run_train_net):
    with pytest.raises(ValueError, match=r"DATASETS.TRAIN: .*got 'nothing'"):
        run_train_net(opts=("DATASETS.TRAIN", ("nothing",)))
