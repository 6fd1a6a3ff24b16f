"""The small frozen objects that cross walls between rooms: vocabularies and label maps."""

from stseg.structures.vocabulary import (
    IGNORE_LABEL,
    Background,
    Segmentation,
    Vocabulary,
    VocabularyLike,
    load_templates,
)

__all__ = [
    "IGNORE_LABEL",
    "Background",
    "Segmentation",
    "Vocabulary",
    "VocabularyLike",
    "load_templates",
]
