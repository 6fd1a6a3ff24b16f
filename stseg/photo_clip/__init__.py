"""CLIP-photo: a network that has seen photographs, and a text tower that joins words to it."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
