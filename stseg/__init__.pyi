from .config import add_stseg_config
from .predictor import Predictor
from .structures import IGNORE_LABEL, Background, Segmentation, Vocabulary

__version__: str

def register() -> None: ...

__all__ = [
    "IGNORE_LABEL",
    "Background",
    "Predictor",
    "Segmentation",
    "Vocabulary",
    "add_stseg_config",
    "register",
]
