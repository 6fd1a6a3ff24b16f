"""Evaluation: a NumPy core and its Detectron2 adapters.

The core imports without torch and Detectron2; the adapters are loaded when first asked for.
"""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
