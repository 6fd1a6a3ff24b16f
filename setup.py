"""The package is described in pyproject.toml; here is only what that cannot say."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """In a checkout configs lie beside the package; a wheel has them in it."""

    def run(self):
        """Build the package, then copy the configs, unless the checkout itself is installed."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "stseg", "assets", "configs")
            shutil.rmtree(target, ignore_errors=True)  # of an earlier build
            shutil.copytree("configs", target)


setup(cmdclass={"build_py": BuildWithConfigs})
