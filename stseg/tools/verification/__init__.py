"""Is a data set what it says it is? Checks of folders of images and label maps.

NumPy and Pillow only, but for `registered`, which asks Detectron2's catalogue.
"""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
