#!/usr/bin/env python
"""Train, resume, evaluate or adapt a model: ``python train_net.py --help`` shows examples."""

import argparse
import sys
from contextlib import nullcontext
from typing import Any

from stseg.engine import parse_args


def main(args: argparse.Namespace) -> Any:
    """One process of a run.

    Args:
        args: from `parse_args`.

    Returns:
        The results of the last evaluation, {} on other ranks than 0.
    """
    from stseg.engine import measured, setup_run

    cfg = setup_run(args)
    with measured() if args.dry_run else nullcontext():
        return _run(cfg, args)


def _run(cfg: Any, args: argparse.Namespace) -> Any:
    from stseg.checkpoint import load_for_evaluation
    from stseg.engine import Trainer, evaluate_weights
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


def run() -> None:
    """Check flags, config and data, then start the processes; a user's mistake is one line."""
    args = parse_args()
    from stseg.engine import cfg_of, check_data, check_sets, check_start, claimed_folder, launch
    from stseg.utils import explanation

    try:
        cfg = cfg_of(args)
        check_data(cfg, is_trained_on=not args.eval_only)
        check_start(cfg, args)
        if args.dry_run and not args.preview:
            check_sets(cfg, args.eval_only)
        with claimed_folder(cfg, args):
            launch(main, args)
    except (OSError, KeyError, ValueError, FloatingPointError) as error:
        if not explanation(error):
            raise
        sys.exit(f"train_net.py: {explanation(error)}")


if __name__ == "__main__":
    run()
