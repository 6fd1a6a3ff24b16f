"""Turning official downloads into label maps: machinery behind `datasets/prepare_scripts/`.

`encoders` says what becomes of the ids, pure NumPy; `formats` reads and writes files; each of
`coco_stuff`, `ade20k`, `pascal_context`, `voc` and `cityscapes` lists what its benchmark needs;
`runner` does the work and `command` is the command line. Needs neither torch nor Detectron2.
"""
