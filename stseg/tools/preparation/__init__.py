"""Turning official downloads into label maps: machinery behind `datasets/prepare_scripts/`.

`encoders` says what becomes of the ids, pure NumPy; `formats` reads and writes files; each of
`coco_stuff`, `ade20k`, `pascal_context`, `voc` and `cityscapes` lists what its benchmark needs;
`runner` does the work and `command` is the command line. Needs neither torch nor Detectron2.
"""

from stseg.utils import front_door

__getattr__, __dir__, __all__ = front_door(__name__, __file__)
