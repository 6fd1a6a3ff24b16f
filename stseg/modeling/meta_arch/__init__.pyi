from .base import OpenVocabSegmentor
from .batch import Batch
from .cel import CEL
from .ebseg import EBSeg
from .features import EncodedImage, Features
from .graphs import export_answer_graphs, export_graphs
from .normalised import normalised_batch, rescaled
from .pgseg import PGSeg
from .stseg import STSeg

__all__ = [
    "CEL",
    "Batch",
    "EBSeg",
    "EncodedImage",
    "Features",
    "OpenVocabSegmentor",
    "PGSeg",
    "STSeg",
    "export_answer_graphs",
    "export_graphs",
    "normalised_batch",
    "rescaled",
]
