"""Does this machine have what the project needs? Checks that never end in a traceback.

Only `importing`, in a process of its own, and the smoke run import torch or Detectron2.
"""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
