"""What `train_net.py` and `stseg train | adapt | evaluate` do. Imports torch after the flags."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from stseg.engine.arguments import parse_args
from stseg.utils import config_path, explanation

if TYPE_CHECKING:
    from detectron2.config import CfgNode


def train_command(
    argv: Sequence[str] | None = None,
    program: str = "train_net.py",
    task: str = "",
) -> Any:
    """Check flags, config and data, then start the processes.

    Args:
        argv: flags; those of the process by default.
        program: for messages.
        task: see `parse_args`.

    Returns:
        What `run_process` returns if it runs in this process, else None. A user's mistake leaves
        through `SystemExit` with one line.
    """
    args = parse_args(argv, program, task)
    from stseg.engine.dry_run import check_sets
    from stseg.engine.processes import launch
    from stseg.engine.setup import cfg_of, check_data, check_names, check_start, claimed_folder

    try:
        if args.config_file:  # Detectron2 reads it, too
            args.config_file = str(config_path(args.config_file))
        cfg = cfg_of(args)
        check_data(cfg, is_trained_on=not args.eval_only)
        check_names(cfg, is_trained_on=not (args.eval_only or args.preview))
        check_start(cfg, args)
        if args.dry_run and not args.preview:
            check_sets(cfg, args.eval_only)
        with claimed_folder(cfg, args):
            return launch(run_process, args)
    except (OSError, KeyError, ValueError, FloatingPointError) as error:
        if not explanation(error):
            raise
        sys.exit(f"{program}: {explanation(error)}")


def run_process(args: argparse.Namespace) -> Any:
    """One process of a run.

    Args:
        args: from `parse_args`.

    Returns:
        The results of the last evaluation, {} on other ranks than 0.
    """
    from stseg.engine.dry_run import measured
    from stseg.engine.setup import setup_run

    cfg = setup_run(args)
    with measured() if args.dry_run else nullcontext():
        return _run(cfg, args)


def _run(cfg: CfgNode, args: argparse.Namespace) -> Any:
    from stseg.checkpoint import load_for_evaluation
    from stseg.engine.eval_only import evaluate_weights
    from stseg.engine.trainer import Trainer
    from stseg.self_training import build_preview

    if args.preview:
        model = Trainer.build_model(cfg)
        load_for_evaluation(model, cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR if args.resume else "")
        return build_preview(cfg, model, args.preview)
    if args.eval_only:
        return evaluate_weights(cfg, args)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()
