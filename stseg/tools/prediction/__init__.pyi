from .predict_command import prediction_command
from .raster_files import segment_raster
from .segment_files import describe
from .steady import SteadyLabels, flicker_share
from .tiled import Strip, TiledSegmenter, segment_picture
from .tiling import Tiling

__all__ = [
    "SteadyLabels",
    "Strip",
    "TiledSegmenter",
    "Tiling",
    "describe",
    "flicker_share",
    "prediction_command",
    "segment_picture",
    "segment_raster",
]
