"""Python and the libraries: there, of a version that does, and can be imported."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress

from stseg.tools import GOOD, NOTE, WRONG, Observation
from stseg.tools.doctor.importing import Facts
from stseg.utils import is_installed

_OLDEST_PYTHON = (3, 10)
#: The build of Detectron2 that `install_detectron2` installs.
_PINNED = "sal-detectron2"
_GET_DETECTRON2 = (
    "Run stseg doctor --install-detectron2 (a pinned wheel, no compiler), or pip install "
    "--no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'."
)

#: Module -> what to install for it; torch and Detectron2 have checks of their own.
LIBRARIES = {
    "numpy": "numpy>=1.26",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch>=2.27",
    "timm": "timm",
    "segment_anything": "segment-anything",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
}
#: Modules that import torch and torchvision: without these nothing can be said of them.
NEED_TORCH = ("open_clip", "timm", "segment_anything", "detectron2")


def check_python() -> Iterator[Observation]:
    """The interpreter."""
    version, where = platform.python_version(), f"{sys.executable}, {platform.platform()}"
    if sys.version_info < _OLDEST_PYTHON:
        yield Observation(
            WRONG, "python", f"expected 3.10 or newer, got {version} ({where})",
            "Make an environment with a newer one: make PYTHON=python3.12 demo.",
        )  # fmt: skip
    else:
        yield Observation(GOOD, "python", f"{version}, {where}")


def check_library(module: str, facts: dict[str, Facts]) -> Iterator[Observation]:
    """One of `LIBRARIES`: whether it is there and can be imported."""
    wanted = LIBRARIES[module]
    if not is_installed(module):
        yield Observation(WRONG, module, "not installed", f"pip install '{wanted}'")
    elif module not in facts:
        yield Observation(NOTE, module, "installed; not tried, as it needs what is wrong above")
    elif "error" in facts[module]:
        yield Observation(
            WRONG, module, f"cannot be imported: {facts[module]['error']}", _cure(module, facts)
        )
    else:
        yield Observation(GOOD, module, facts[module]["version"] or "imports")


def _cure(module: str, facts: dict[str, Facts]) -> str:
    error = facts[module]["error"]
    if module == "torchvision" and "version" in facts.get("torch", {}):
        return (
            f"It must be built for torch {facts['torch']['version']}: pip install --no-deps "
            "--force-reinstall torchvision, of the version that pytorch.org pairs with it."
        )
    if module == "cv2" and "libGL" in error:
        return "pip uninstall opencv-python, then pip install --force-reinstall " + LIBRARIES["cv2"]
    if "numpy" in error.lower():
        return "It was built for another NumPy: pip install --upgrade it, or pip install 'numpy<2'."
    return f"pip install --force-reinstall '{LIBRARIES[module]}'"


def check_detectron2(facts: dict[str, Facts]) -> Iterator[Observation]:
    """Which build of Detectron2 this is, and whether it can be used."""
    if not is_installed("detectron2"):
        yield Observation(WRONG, "detectron2", "not installed", _GET_DETECTRON2)
        return
    build = _detectron2_build()
    if "detectron2" not in facts:
        yield Observation(
            NOTE, "detectron2", f"{build}; not tried, as it needs what is wrong above"
        )
        return
    seen = facts["detectron2"]
    error = seen.get("error") or seen["used"]
    if error:
        yield Observation(
            WRONG, "detectron2", f"{build}, cannot be imported: {error}",
            f"Remove it (pip uninstall detectron2 {_PINNED}). {_GET_DETECTRON2}",
        )  # fmt: skip
        return
    compiled = "with compiled operators" if seen["compiled"] else "without compiled operators"
    text = f"{seen['version']}, {build}, {compiled}, of which none is needed; {seen['folder']}"
    yield Observation(GOOD, "detectron2", text)
    if seen["compiled_error"]:
        yield Observation(
            NOTE, "detectron2", f"its compiled operators do not load: {seen['compiled_error']}",
            "stseg uses none. For models that do, build Detectron2 again for this torch.",
        )  # fmt: skip


def _owners(module: str) -> list[str]:
    """Packages that installed a module."""
    return sorted(set(importlib.metadata.packages_distributions().get(module, [])))


def _detectron2_build() -> str:
    """Where it comes from, in words."""
    names = _owners("detectron2")
    if not names:
        return "a folder that no package owns"
    found = importlib.metadata.distribution(names[0])
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id", "")
    if commit:
        return f"built from git at {commit[:8]}"
    if names[0] == _PINNED:
        return f"the wheel {_PINNED} {found.version}"
    return f"package {names[0]} {found.version}" + (", built here" if origin else "")


def check_requirements() -> Iterator[Observation]:
    """What the installed project says it needs, by the packages' own records."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires("stseg") or []
    except importlib.metadata.PackageNotFoundError:
        yield Observation(
            NOTE, "packages", "stseg is not installed, only found: versions are not compared",
            "pip install -e . in the project's folder.",
        )  # fmt: skip
        return
    needs = [need for need in map(Requirement, lines) if not need.marker or need.marker.evaluate()]
    bad = []
    for need in needs:
        version = _version(need.name)
        if not version:
            bad.append((str(need), "missing"))
        elif not need.specifier.contains(version, prereleases=True):
            bad.append((str(need), f"{version} here"))
    if bad:
        text = ", ".join(f"{need} ({why})" for need, why in bad)
        cure = "pip install " + " ".join(f"'{need}'" for need, _ in bad)
        yield Observation(WRONG, "packages", f"expected {text}", cure)
    else:
        yield Observation(GOOD, "packages", f"{len(needs)} required ones have versions that do")


def _version(package: str) -> str:
    """Of an installed package, "" for none; every build of OpenCV is as good as another."""
    others = _owners("cv2") if package.startswith("opencv-python") else []
    for name in (package, *others):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


def check_opencv() -> Iterator[Observation]:
    """Several builds of OpenCV write into one folder, and the last one installed wins."""
    names = _owners("cv2")
    if len(names) > 1:
        yield Observation(
            NOTE, "cv2", f"{' and '.join(names)} overwrite one another",
            f"pip uninstall {' '.join(names)}, then pip install one of them.",
        )  # fmt: skip
