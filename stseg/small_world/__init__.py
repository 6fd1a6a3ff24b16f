"""The miniature: a world of pictures with names, and the training of its small CLIP and SAM."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
