from .segmentation import IGNORE_LABEL, Segmentation
from .vocabulary import Background, Vocabulary, VocabularyLike, load_templates

__all__ = [
    "Background",
    "IGNORE_LABEL",
    "Segmentation",
    "Vocabulary",
    "VocabularyLike",
    "load_templates",
]
