"""Readers of data of one's own: folders, videos, labelme, COCO."""

from stseg.data.readers.folders import register_data, register_folder, register_from_cfg
from stseg.data.readers.unlabelled import list_images, register_images

__all__ = [
    "list_images",
    "register_data",
    "register_folder",
    "register_from_cfg",
    "register_images",
]
