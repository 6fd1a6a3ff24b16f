from .segmentation import IGNORE_LABEL, Segmentation
from .vocabulary import Background, Vocabulary, VocabularyLike, shipped_lists, written_entries

__all__ = [
    "Background",
    "IGNORE_LABEL",
    "Segmentation",
    "Vocabulary",
    "VocabularyLike",
    "shipped_lists",
    "written_entries",
]
