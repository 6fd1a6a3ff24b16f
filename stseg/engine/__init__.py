"""Training, prediction and what runs them."""

from stseg.dependencies import require_detectron2

require_detectron2(__name__)

from stseg.engine.optimizer import build_optimizer
from stseg.engine.predictor import Predictor
from stseg.engine.setup import setup_cfg
from stseg.engine.trainer import Trainer

__all__ = ["Predictor", "Trainer", "build_optimizer", "setup_cfg"]
