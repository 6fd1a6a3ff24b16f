from .predict_command import prediction_command
from .segment_files import describe

__all__ = ["describe", "prediction_command"]
