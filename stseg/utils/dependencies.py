"""What to say when torch or Detectron2 is missing."""

from importlib import import_module

REQUIRED = ("torch", "detectron2")

HOW_TO_INSTALL = """\
Either let the project set up its own environment (run `make test` in a checkout), or:
  pip install torch torchvision
and, for Detectron2, one of
  dev/install_detectron2.sh python            # pinned wheel from the package registry, no compiler
  pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'
"""


def missing_dependencies() -> tuple[str, ...]:
    """Those of torch and Detectron2 that are not installed.

    One that is installed but broken raises its own error: hiding that would hide the cause.
    """
    missing = []
    for module in REQUIRED:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            absent = (error.name or "").split(".")[0]
            if absent not in REQUIRED:
                raise
            missing.append(absent)
    return tuple(dict.fromkeys(missing))


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
