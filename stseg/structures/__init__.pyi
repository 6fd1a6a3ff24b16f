from .segmentation import IGNORE_LABEL, Segmentation
from .vocabulary import Background, Vocabulary, VocabularyLike

__all__ = [
    "Background",
    "IGNORE_LABEL",
    "Segmentation",
    "Vocabulary",
    "VocabularyLike",
]
