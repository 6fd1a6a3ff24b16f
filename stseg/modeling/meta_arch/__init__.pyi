from .base import OpenVocabSegmentor
from .batch import Batch
from .ebseg import EBSeg
from .features import EncodedImage, Features
from .graphs import export_graphs
from .normalised import normalised_batch, rescaled
from .stseg import STSeg

__all__ = [
    "Batch",
    "EBSeg",
    "EncodedImage",
    "Features",
    "OpenVocabSegmentor",
    "STSeg",
    "export_graphs",
    "normalised_batch",
    "rescaled",
]
