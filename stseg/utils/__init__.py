"""What every room may use: files, paths, errors, random states, threads."""

from stseg.utils.doors import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
