"""Training, prediction and what runs them."""

from stseg.utils.dependencies import require_detectron2

require_detectron2(__name__)

from stseg.config import setup_cfg
from stseg.engine.optimizer import build_optimizer
from stseg.engine.trainer import Trainer
from stseg.predictor import Predictor

__all__ = ["Predictor", "Trainer", "build_optimizer", "setup_cfg"]
