from .arguments import parse_args
from .command_line import run_process, train_command
from .dry_run import check_sets, measured
from .ema import WeightAverage
from .eval_only import calibrate, evaluate_weights
from .optimizer import build_optimizer
from .processes import launch
from .setup import cfg_of, check_data, check_start, claimed_folder, setup_cfg, setup_run
from .stepwise import (
    StepwiseTrainer,
    build_adamw,
    lr_factor,
    run_command,
    run_training,
    write_halved,
)
from .stepwise_flags import parse_stepwise
from .train_step import check_gradients
from .trainer import Trainer

__all__ = [
    "StepwiseTrainer",
    "Trainer",
    "WeightAverage",
    "build_adamw",
    "build_optimizer",
    "calibrate",
    "cfg_of",
    "check_data",
    "check_gradients",
    "check_sets",
    "check_start",
    "claimed_folder",
    "write_halved",
    "launch",
    "lr_factor",
    "evaluate_weights",
    "measured",
    "parse_args",
    "parse_stepwise",
    "run_command",
    "run_process",
    "run_training",
    "setup_cfg",
    "setup_run",
    "train_command",
]
