from .cache import WeightsHash
from .class_embeddings import ClassEmbeddings
from .encoder import CLIPTextEncoder, build_text_encoder

__all__ = ["CLIPTextEncoder", "ClassEmbeddings", "WeightsHash", "build_text_encoder"]
