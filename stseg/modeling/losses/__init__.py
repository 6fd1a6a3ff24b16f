"""Losses of score maps, and of sets of masks."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
