"""For tools that ask for this file; the package is described in pyproject.toml."""

from setuptools import setup

setup()
