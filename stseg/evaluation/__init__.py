"""Evaluation: a NumPy core and its Detectron2 adapters.

The core imports without torch and Detectron2; the adapters are loaded when first asked for.
"""

from importlib import import_module
from typing import Any

from stseg.dependencies import require_detectron2
from stseg.evaluation.confusion import ConfusionMatrix

_ADAPTERS = {
    "EVALUATOR_REGISTRY": "stseg.evaluation.build",
    "build_evaluator": "stseg.evaluation.build",
    "STSegSemSegEvaluator": "stseg.evaluation.sem_seg_evaluator",
}

__all__ = ["ConfusionMatrix", "EVALUATOR_REGISTRY", "STSegSemSegEvaluator", "build_evaluator"]


def __getattr__(name: str) -> Any:
    if name not in _ADAPTERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_detectron2(f"stseg.evaluation.{name}")
    return getattr(import_module(_ADAPTERS[name]), name)
