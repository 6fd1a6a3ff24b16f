"""Open-vocabulary semantic segmentation for Detectron2.

Data sets, mappers, models, evaluators and `stseg://` paths are registered with Detectron2: at once
where it is imported already, else when `Predictor` or `add_stseg_config` is first used, or by
`register()`. Importing this package alone loads neither torch nor Detectron2.
"""

import sys
from importlib import import_module

from stseg.utils import VERSION, front_door, hide_jit, require_detectron2, share_processors

__version__ = VERSION

_get, __dir__, _names = front_door(__name__, __file__)
__all__ = [*_names, "register"]
_NEED_DETECTRON2 = ("Predictor", "add_stseg_config")
_REGISTERING = (
    "weights.paths",
    "data.datasets.register",
    "data.mappers",
    "data.caption_mapper",
    "evaluation.build",
    "modeling.systems",
)


def register() -> None:
    """Register all that this project adds with Detectron2; again does nothing.

    Raises:
        ImportError: if torch or Detectron2 is not installed; says how to get them.
    """
    require_detectron2("stseg.register()")
    for module in _REGISTERING:
        import_module(f"stseg.{module}")


def __getattr__(name: str) -> object:
    if name in _NEED_DETECTRON2:
        require_detectron2(f"stseg.{name}")
        register()
    return _get(name)


share_processors()  # before torch is loaded
hide_jit()  # before its users are
if sys.modules.get("detectron2"):
    register()
