"""Self-training on images without labels: target, gate, refiner, store, guard, pages, hook."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
