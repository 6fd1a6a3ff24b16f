from .label_map import LabelMap, LabelMapModel, label_maps, top_classes, top_classes_of_tiles
from .windows import Tiles, build_tiles, evaluation_dtype, pad_to_batch, predict_tiles, resize

__all__ = [
    "LabelMap",
    "LabelMapModel",
    "Tiles",
    "build_tiles",
    "evaluation_dtype",
    "label_maps",
    "pad_to_batch",
    "predict_tiles",
    "resize",
    "top_classes",
    "top_classes_of_tiles",
]
