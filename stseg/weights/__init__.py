"""Weights by name: what is published where, fetched once, known again by its hash."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
