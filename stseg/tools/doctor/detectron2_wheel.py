"""Puts Detectron2 where this Python finds it.

Detectron2 is not on the package registry under its own name, and building it from source needs a
compiler. sal-detectron2 0.7.2 is Detectron2 packed as a wheel without the compiled parts; stseg
uses none of those. The wheel names one Python version only, though it is plain Python: so it is
fetched for that version, pinned by hash, and put straight into site-packages. What it needs, stseg
needs, too.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig

from stseg.utils import ASSETS, is_installed

_PINNED = ASSETS / "detectron2.txt"
_ANY_PYTHON = "--python-version 3.10 --implementation cp --abi none --platform any".split()


def install_detectron2() -> bool:
    """Install the pinned wheel, unless a Detectron2 is there.

    Returns:
        Whether it was installed now.

    Raises:
        OSError: if pip fails; says what to do.
    """
    if is_installed("detectron2"):
        return False
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"]
    command += ["--only-binary=:all:", *_ANY_PYTHON]
    command += [
        "--target",
        sysconfig.get_paths()["purelib"],
        "--require-hashes",
        "-r",
        str(_PINNED),
    ]
    done = subprocess.run(command, stdout=sys.stderr)
    if done.returncode:
        raise OSError(
            f"Detectron2: expected pip to install {_PINNED.read_text().split()[0]}, got exit code "
            f"{done.returncode}, see above. Is the package registry reachable, and may the "
            "site-packages of this Python be written?"
        )
    return True
