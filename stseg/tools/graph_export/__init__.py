"""A trained network as graphs for other programs, and the words that they are asked with."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
