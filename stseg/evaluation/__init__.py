"""Evaluation: a NumPy core and its Detectron2 adapters.

The core imports without torch and Detectron2; the adapters are loaded when first asked for.
"""

from importlib import import_module
from typing import Any

from stseg.evaluation.bootstrap import Bootstrap, PairedTest, paired_test
from stseg.evaluation.boundary import BoundaryCounts, TrimapCounts
from stseg.evaluation.calibration import ConfidenceHistogram
from stseg.evaluation.confusion import ConfusionMatrix
from stseg.evaluation.metrics import figures, fold_background, per_class, top_confusions
from stseg.evaluation.open_vocab import open_figures, open_iou, similarity, text_similarity
from stseg.evaluation.results import Result, comparable, read_result, write_result
from stseg.evaluation.scoring import Score, Settings, score_pairs, summarise
from stseg.utils.dependencies import require_detectron2

_ADAPTERS = {
    "EVALUATOR_REGISTRY": "stseg.evaluation.build",
    "build_evaluator": "stseg.evaluation.build",
    "STSegSemSegEvaluator": "stseg.evaluation.sem_seg_evaluator",
    "SemSegEvaluator": "stseg.evaluation.drop_in",
}

__all__ = [
    "Bootstrap",
    "BoundaryCounts",
    "ConfidenceHistogram",
    "ConfusionMatrix",
    "EVALUATOR_REGISTRY",
    "PairedTest",
    "Result",
    "STSegSemSegEvaluator",
    "Score",
    "SemSegEvaluator",
    "Settings",
    "TrimapCounts",
    "build_evaluator",
    "comparable",
    "figures",
    "fold_background",
    "open_figures",
    "open_iou",
    "paired_test",
    "per_class",
    "read_result",
    "score_pairs",
    "similarity",
    "summarise",
    "text_similarity",
    "top_confusions",
    "write_result",
]


def __getattr__(name: str) -> Any:
    if name not in _ADAPTERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_detectron2(f"stseg.evaluation.{name}")
    return getattr(import_module(_ADAPTERS[name]), name)
