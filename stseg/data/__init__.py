"""Data sets, mappers and loaders. Importing registers the benchmarks and the mappers.

Without torch or Detectron2 only the NumPy parts below (`stseg.data.image_io`) can be imported.
"""

from importlib import import_module

from stseg.dependencies import missing_dependencies

if not missing_dependencies():
    for _module in ("datasets", "mappers"):
        import_module(f"stseg.data.{_module}")  # only registration
