"""All checks in the order in which to read them: what others rest on comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from stseg.tools import NOTE, WRONG, Observation
from stseg.tools.doctor import belongings, machine, packages, torch_build
from stseg.tools.doctor.importing import Facts, ask, in_a_line
from stseg.tools.doctor.smoke_run import SmokeScene, check_run
from stseg.utils import is_installed

Check = Callable[[], Iterator[Observation]]

_BASE = ("numpy", "torch", "torchvision")


def examine(scene: Callable[[], SmokeScene] | None = None) -> Iterator[Observation]:
    """Look at everything, one observation after the other as they are made.

    A check that fails itself is an observation, too.

    Args:
        scene: makes the picture of the smoke run; None for no run.
    """
    facts: dict[str, Facts] = {}
    yield from _guarded("python", packages.check_python)
    yield from _guarded("packages", partial(_import_all, facts))
    for subject, check in _checks(facts).items():
        yield from _guarded(subject, check)
    if scene is not None:
        yield from _guarded("run", partial(_run, scene, facts))


def _import_all(facts: dict[str, Facts]) -> Iterator[Observation]:
    """Fill in the facts; what rests on another library is tried only where that works."""
    base = _BASE if is_installed("torch") else _BASE[:1]
    facts |= ask([module for module in base if is_installed(module)])
    if not _works("torch", facts):
        facts.pop("torchvision", None)
    usable = _works("torch", facts) and _works("torchvision", facts)
    others = (*(m for m in packages.LIBRARIES if m not in _BASE), "detectron2")
    wanted = [m for m in others if usable or m not in packages.NEED_TORCH]
    facts |= ask([module for module in wanted if is_installed(module)])
    yield from ()


def _works(module: str, facts: dict[str, Facts]) -> bool:
    return "version" in facts.get(module, {})


def _checks(facts: dict[str, Facts]) -> dict[str, Check]:
    libraries: dict[str, Check] = {
        module: partial(packages.check_library, module, facts) for module in packages.LIBRARIES
    }
    numpy, torchvision = libraries.pop("numpy"), libraries.pop("torchvision")
    return {
        "torch": partial(torch_build.check_torch, facts),
        "gpu": partial(torch_build.check_gpu, facts),
        "numpy": numpy,
        "torchvision": torchvision,
        "detectron2": partial(packages.check_detectron2, facts),
        **libraries,
        "opencv": packages.check_opencv,
        "packages": packages.check_requirements,
        "memory": machine.check_memory,
        "processors": machine.check_processors,
        "disk": machine.check_disk,
        "data": belongings.check_data,
        "weights": belongings.check_weights,
    }


def _run(scene: Callable[[], SmokeScene], facts: dict[str, Facts]) -> Iterator[Observation]:
    unusable = [module for module in ("torch", "detectron2") if not _works(module, facts)]
    if unusable:
        text = f"not tried: {' and '.join(unusable)} cannot be used"
        yield Observation(NOTE, "run", text)
        return
    gpus = facts["torch"]["gpus"]
    yield from check_run(scene(), ["cpu", *(["cuda:0"] if gpus and not gpus[0]["error"] else [])])


def _guarded(subject: str, check: Check) -> Iterator[Observation]:
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - nothing that is found here may end the search
        cure = "This check cannot be made here; what is wrong above comes first."
        yield Observation(WRONG, subject, in_a_line(error), cure)
