"""Segmenting images, folders and videos from the command line, and what is written about them."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
