from .bootstrap import Bootstrap, PairedTest, paired_test
from .boundary import BoundaryCounts, TrimapCounts
from .build import EVALUATOR_REGISTRY, build_evaluator
from .calibration import ConfidenceHistogram
from .confusion import ConfusionMatrix
from .drop_in import SemSegEvaluator
from .evaluation_commands import evaluation_command
from .metrics import figures, fold_background, per_class, top_confusions
from .open_vocab import open_figures, open_iou, read_similarity, similarity
from .results import (
    Result,
    comparable,
    read_result,
    read_results,
    write_result,
    write_results,
)
from .run_summary import Figures
from .scoring import Score, Settings, score_pairs, summarise
from .sem_seg_evaluator import ResumedModel, STSegSemSegEvaluator
from .terminal import class_table

__all__ = [
    "Bootstrap",
    "BoundaryCounts",
    "ConfidenceHistogram",
    "ConfusionMatrix",
    "EVALUATOR_REGISTRY",
    "Figures",
    "PairedTest",
    "Result",
    "ResumedModel",
    "STSegSemSegEvaluator",
    "Score",
    "SemSegEvaluator",
    "Settings",
    "TrimapCounts",
    "build_evaluator",
    "class_table",
    "comparable",
    "evaluation_command",
    "figures",
    "fold_background",
    "open_figures",
    "open_iou",
    "paired_test",
    "per_class",
    "read_result",
    "read_results",
    "read_similarity",
    "score_pairs",
    "similarity",
    "summarise",
    "top_confusions",
    "write_result",
    "write_results",
]
