"""What to say when torch or Detectron2 is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

REQUIRED = ("torch", "detectron2")

HOW_TO_INSTALL = """\
Either let the project set up its own environment (run `make env` in a checkout), or:
  pip install torch torchvision
and, for Detectron2, one of
  stseg doctor --install-detectron2           # pinned wheel from the package registry, no compiler
  pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'
"""


def missing_dependencies() -> tuple[str, ...]:
    """Those of torch and Detectron2 that are not installed. Imports neither."""
    return tuple(module for module in REQUIRED if not is_installed(module))


def is_installed(module: str) -> bool:
    """Whether a module can be found. Imports nothing but the packages that it lies in."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def require_detectron2(who: str) -> None:
    """Raise an ImportError that says how to get what is missing.

    Args:
        who: what the user asked for, such as "stseg.Predictor".

    Raises:
        ImportError: if torch or Detectron2 is not installed.
    """
    missing = missing_dependencies()
    if missing:
        raise ImportError(
            f"{who} needs {' and '.join(missing)}, not installed here.\n{HOW_TO_INSTALL}"
        )


@contextmanager
def explained(who: str) -> Iterator[None]:
    """Say how to get torch or Detectron2 where the import inside misses them.

    One that is installed but broken raises its own error: hiding that would hide the cause.

    Args:
        who: what the user asked for.

    Raises:
        ImportError: in the place of the error that names only the module.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in REQUIRED:
            require_detectron2(who)
        raise
