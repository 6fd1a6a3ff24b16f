from .predict_command import prediction_command
from .raster_files import segment_raster
from .segment_files import describe, is_about_memory
from .steady import SteadyLabels, flicker_share
from .tiled import Strip, TiledSegmenter, segment_picture
from .tiling import Tiling
from .weights_choice import DEFAULT, Choice, choose

__all__ = [
    "DEFAULT",
    "Choice",
    "SteadyLabels",
    "Strip",
    "TiledSegmenter",
    "Tiling",
    "choose",
    "describe",
    "flicker_share",
    "is_about_memory",
    "prediction_command",
    "segment_picture",
    "segment_raster",
]
