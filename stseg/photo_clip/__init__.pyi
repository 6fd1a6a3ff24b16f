from .nouns import Noun, load_nouns

__all__ = [
    "Noun",
    "load_nouns",
]
