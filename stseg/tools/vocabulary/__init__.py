"""Words looked at: what is wrong with a list of names, and how answers move when names change."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
