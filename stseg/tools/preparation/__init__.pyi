from .ade20k import ADE20K_150, ADE20K_FULL
from .cityscapes import CITYSCAPES
from .coco_stuff import COCO_STUFF
from .command import main
from .pascal_context import PASCAL_CONTEXT_59, PASCAL_CONTEXT_459
from .voc import VOC

__all__ = [
    "ADE20K_150",
    "ADE20K_FULL",
    "CITYSCAPES",
    "COCO_STUFF",
    "PASCAL_CONTEXT_459",
    "PASCAL_CONTEXT_59",
    "VOC",
    "main",
]
