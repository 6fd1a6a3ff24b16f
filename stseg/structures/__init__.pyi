from .segmentation import IGNORE_LABEL, Segmentation
from .vocabulary import Background, Vocabulary, VocabularyLike
from .word_sources import separator_in, shipped_lists, written_entries

__all__ = [
    "Background",
    "IGNORE_LABEL",
    "Segmentation",
    "Vocabulary",
    "VocabularyLike",
    "separator_in",
    "shipped_lists",
    "written_entries",
]
