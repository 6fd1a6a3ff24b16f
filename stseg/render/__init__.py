"""Pictures, pages and files of label maps. NumPy, Pillow, OpenCV and jinja2 only."""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
