from .segmentation import IGNORE_LABEL, Segmentation
from .vocabulary import Background, Vocabulary, VocabularyLike
from .word_sources import is_shipped, separator_in, shipped_lists, split_text, written_entries

__all__ = [
    "Background",
    "IGNORE_LABEL",
    "Segmentation",
    "Vocabulary",
    "VocabularyLike",
    "is_shipped",
    "separator_in",
    "shipped_lists",
    "split_text",
    "written_entries",
]
