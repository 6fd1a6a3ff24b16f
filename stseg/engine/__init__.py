"""Running things: configuration, training, evaluation."""

from stseg.engine.optimizer import build_optimizer
from stseg.engine.setup import setup_cfg
from stseg.engine.trainer import Trainer

__all__ = ["Trainer", "build_optimizer", "setup_cfg"]
