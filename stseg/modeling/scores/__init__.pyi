from .answers import CellScores, Scores
from .batches import evaluation_dtype, pad_to_batch, resize
from .group_scores import GroupRows, GroupScores, with_rest
from .label_map import LabelMap, LabelMapModel, label_maps
from .query_sum import QueryScores, QuerySum
from .softmax import SoftmaxScores
from .sources import Cells, Cropped, Range, Resized, Source, calibrated, confidences, probabilities
from .windows import Box, Tiles, WindowScores, build_tiles

__all__ = [
    "Box",
    "CellScores",
    "Cells",
    "Cropped",
    "GroupScores",
    "GroupRows",
    "LabelMap",
    "LabelMapModel",
    "QueryScores",
    "QuerySum",
    "Range",
    "Resized",
    "Scores",
    "SoftmaxScores",
    "Source",
    "Tiles",
    "WindowScores",
    "build_tiles",
    "calibrated",
    "confidences",
    "evaluation_dtype",
    "label_maps",
    "pad_to_batch",
    "probabilities",
    "resize",
    "with_rest",
]
