"""Data sets, mappers and loaders.

`import stseg` registers the data sets and mappers. Without torch and Detectron2 only the NumPy
parts (`stseg.data.image_io`) can be imported.
"""
