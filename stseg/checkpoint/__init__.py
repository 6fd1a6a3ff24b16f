"""The checkpointer, readers of published checkpoints, and what ships with the project."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
