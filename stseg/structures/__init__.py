"""The small frozen objects that cross walls between rooms: vocabularies and label maps."""

from stseg.structures.segmentation import Segmentation
from stseg.structures.vocabulary import Background, Vocabulary, VocabularyLike, load_templates
from stseg.utils.ids import IGNORE_LABEL

__all__ = [
    "IGNORE_LABEL",
    "Background",
    "Segmentation",
    "Vocabulary",
    "VocabularyLike",
    "load_templates",
]
