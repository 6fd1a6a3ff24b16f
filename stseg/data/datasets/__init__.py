"""Data sets: the benchmark table, class lists and zero-shot splits."""

from importlib import import_module

from stseg.utils import front_door

_get, __dir__, __all__ = front_door(__name__, __file__)
#: Names that stood here earlier.
_OF_READERS = ("list_images", "register_data", "register_folder", "register_images")


def __getattr__(name: str) -> object:
    return getattr(import_module("stseg.data.readers"), name) if name in _OF_READERS else _get(name)
