"""Flags that say which model is asked about which images, and the model that they ask for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stseg import Predictor


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say which model is asked, and about which images."""
    add = parser.add_argument
    add("--config-file", default="configs/mini/stseg_mini.yaml", metavar="FILE")
    add("--weights", metavar="FILE", help="instead of MODEL.WEIGHTS")
    add("--data-set", default="small_world_val_sem_seg", metavar="NAME", help="registered")
    add("--images", type=int, metavar="N", help="the first ones only")
    add(
        "--data",
        action="append",
        default=[],
        metavar="NAME=FORMAT:PATH",
        help="register data of one's own, as train_net.py does",
    )


def predictor_of(args: argparse.Namespace) -> Predictor:
    """The model that the flags ask for; registers the data that they name."""
    from stseg import Predictor
    from stseg.config import setup_cfg
    from stseg.data.readers import register_from_cfg

    cfg = setup_cfg(args.config_file, data=args.data)
    register_from_cfg(cfg)
    return Predictor(cfg, weights=args.weights)
