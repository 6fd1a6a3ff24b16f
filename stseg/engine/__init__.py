"""Training, prediction and what runs them."""

from stseg.dependencies import require_detectron2

require_detectron2(__name__)

from stseg.engine.optimizer import build_optimizer  # noqa: E402
from stseg.engine.setup import setup_cfg  # noqa: E402
from stseg.engine.trainer import Trainer  # noqa: E402

__all__ = ["Trainer", "build_optimizer", "setup_cfg"]
