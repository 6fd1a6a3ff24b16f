"""From features to score maps: by a cost volume, or by masks of queries."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
