from .arguments import parse_args
from .command_line import run_process, train_command
from .dry_run import check_sets, measured
from .ema import WeightAverage
from .eval_only import calibrate, evaluate_weights
from .optimizer import build_optimizer
from .processes import launch
from .setup import cfg_of, check_data, check_start, claimed_folder, setup_cfg, setup_run
from .train_step import check_gradients
from .trainer import Trainer

__all__ = [
    "Trainer",
    "WeightAverage",
    "build_optimizer",
    "calibrate",
    "cfg_of",
    "check_data",
    "check_gradients",
    "check_sets",
    "check_start",
    "claimed_folder",
    "launch",
    "evaluate_weights",
    "measured",
    "parse_args",
    "run_process",
    "setup_cfg",
    "setup_run",
    "train_command",
]
