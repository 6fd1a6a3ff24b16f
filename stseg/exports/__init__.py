"""Label maps in the formats of other programs. NumPy, OpenCV, pycocotools and PyYAML only.

A file per format. What has no class is in no object.
"""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
