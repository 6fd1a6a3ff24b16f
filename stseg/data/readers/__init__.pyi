from .folders import register_data, register_folder, register_from_cfg, register_images
from .unlabelled import list_images

__all__ = [
    "list_images",
    "register_data",
    "register_folder",
    "register_from_cfg",
    "register_images",
]
