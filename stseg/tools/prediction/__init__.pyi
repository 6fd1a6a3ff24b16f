from .predict_command import prediction_command
from .raster_files import segment_raster
from .segment_files import describe
from .tiled import Strip, TiledSegmenter, segment_picture
from .tiling import Tiling

__all__ = [
    "Strip",
    "TiledSegmenter",
    "Tiling",
    "describe",
    "prediction_command",
    "segment_picture",
    "segment_raster",
]
