from .cache import WeightsHash
from .caption_encoder import CaptionFeatures, CaptionTextEncoder
from .class_embeddings import ClassEmbeddings
from .encoder import CLIPTextEncoder, build_text_encoder
from .experts import LatestExperts
from .known_words import KnownWords
from .lengths import cut_names
from .rest_class import ClassifierWithRest
from .templates import load_templates
from .text_prototypes import TextPrototypes
from .tower import TextTower

__all__ = [
    "CLIPTextEncoder",
    "CaptionFeatures",
    "CaptionTextEncoder",
    "ClassEmbeddings",
    "ClassifierWithRest",
    "KnownWords",
    "LatestExperts",
    "TextPrototypes",
    "TextTower",
    "WeightsHash",
    "build_text_encoder",
    "cut_names",
    "load_templates",
]
