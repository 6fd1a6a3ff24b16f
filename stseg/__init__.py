"""Open-vocabulary semantic segmentation for Detectron2.

Where torch and Detectron2 are installed, importing this package registers all data sets, mappers,
models and evaluators. Where they are not, the NumPy parts (`stseg.structures` and the core of
`stseg.evaluation`) still import, and anything else says how to install what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stseg.structures import IGNORE_LABEL, Background, Segmentation, Vocabulary
from stseg.utils.dependencies import missing_dependencies, require_detectron2
from stseg.utils.threads import share_processors

if TYPE_CHECKING:
    from stseg.config import add_stseg_config
    from stseg.predictor import Predictor

__version__ = "0.1.0"
__all__ = [
    "IGNORE_LABEL",
    "Background",
    "Predictor",
    "Segmentation",
    "Vocabulary",
    "add_stseg_config",
]

_NEEDS_DETECTRON2 = {"add_stseg_config": "stseg.config", "Predictor": "stseg.predictor"}
# Importing these registers data sets, mappers, evaluators, models and `stseg://` paths.
_REGISTERING = (
    "utils.paths",
    "data.datasets",
    "small_world.registration",
    "data.mappers",
    "evaluation.build",
    "modeling",
    "checkpoint",
    "engine",
)

share_processors()  # before torch is loaded
if not missing_dependencies():
    for _module in _REGISTERING:
        import_module(f"stseg.{_module}")


def __getattr__(name: str) -> Any:
    if name in _NEEDS_DETECTRON2:
        require_detectron2(f"stseg.{name}")
        return getattr(import_module(_NEEDS_DETECTRON2[name]), name)
    if name in ("checkpoint", "config", "engine", "modeling"):
        require_detectron2(f"stseg.{name}")
        return import_module(f"stseg.{name}")
    raise AttributeError(f"module 'stseg' has no attribute {name!r}")
