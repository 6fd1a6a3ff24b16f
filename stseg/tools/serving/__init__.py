"""Segmenting pictures that come over HTTP: a page for people, an endpoint for programs."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
