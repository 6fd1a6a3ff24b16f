"""Deprecations of third parties: they tell their authors something, and our users nothing."""

import logging
import os
import sys
import warnings

_OLD_WAYS = (FutureWarning, DeprecationWarning, PendingDeprecationWarning)


def hide_jit() -> None:
    """What torch says of `torch.jit`, which packages that we import use, is not shown.

    Nothing changes where the person said what to do with warnings (``-W``, PYTHONWARNINGS).
    """
    if not sys.warnoptions:
        for category in _OLD_WAYS:
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=category)


def hide_old_ways() -> None:
    """Third parties' deprecations are not shown, here and in child processes.

    Nothing changes where the person said what to do with warnings (``-W``, PYTHONWARNINGS).
    """
    if sys.warnoptions:
        return
    for category in _OLD_WAYS:
        warnings.filterwarnings("ignore", category=category)
    # It looks for a compiler when Detectron2 asks for its version, and we compile nothing.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # Processes that are started fresh load torch before they come to a line of ours.
    kinds = ",".join(f"ignore::{category.__name__}" for category in _OLD_WAYS)
    os.environ.setdefault("PYTHONWARNINGS", kinds)
