from .asked_words import VocabularyVariant, permuted, renamed, with_distractors, with_synonyms
from .glued_words import unglued
from .moved_answers import (
    GIVEN,
    everyday_words,
    lone_words,
    measure,
    probe_variants,
    variants,
    words_of,
)
from .nearness import NEAR, lint_with_model, text_encoder_of, unknown_words
from .wording import lint

__all__ = [
    "GIVEN",
    "NEAR",
    "VocabularyVariant",
    "everyday_words",
    "lint",
    "lint_with_model",
    "lone_words",
    "measure",
    "permuted",
    "probe_variants",
    "renamed",
    "text_encoder_of",
    "unglued",
    "unknown_words",
    "variants",
    "with_distractors",
    "with_synonyms",
    "words_of",
]
