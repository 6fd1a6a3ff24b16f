from .as_coco import coco_content
from .as_detections import detections_of
from .labelled import LabelledImage
from .outlines import mask_rings
from .writing import EXPORT_KINDS, write_export

__all__ = [
    "EXPORT_KINDS",
    "LabelledImage",
    "coco_content",
    "detections_of",
    "mask_rings",
    "write_export",
]
