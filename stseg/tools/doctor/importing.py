"""Imports tried in a process of its own: a broken library may end Python, or never come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from stseg.utils import is_installed

Facts = dict[str, Any]

_MARK = "stseg doctor: "  # libraries write to the screen, too
_CODE = "import sys; from stseg.tools.doctor.importing import tell; tell(sys.argv[1:])"
_PATIENCE = 180.0  # seconds; a cold disk and a first look at a GPU take their time


def ask(modules: Sequence[str], patience: float = _PATIENCE) -> dict[str, Facts]:
    """Import modules one after the other in another Python, and hear what they are.

    Args:
        modules: in the order in which to import them.
        patience: seconds for all of them.

    Returns:
        Facts by module: "version" and what `_FACTS` says besides, or "error" alone. After one that
        ends Python the others are tried in a new one.
    """
    if not modules:
        return {}
    command = [sys.executable, "-c", _CODE, *modules]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=patience
        )
        said, ending = done.stdout, _ending(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as stop:
        said = stop.stdout.decode(errors="replace") if isinstance(stop.stdout, bytes) else ""
        ending = f"is not done after {patience:.0f} s"
    lines = (line for line in said.splitlines() if line.startswith(_MARK))
    facts = dict(json.loads(line.removeprefix(_MARK)) for line in lines)
    unsaid = [module for module in modules if module not in facts]
    if unsaid:
        facts[unsaid[0]] = {"error": f"import {ending}"}
        facts |= ask(unsaid[1:], patience)
    return facts


def _ending(code: int, errors: str) -> str:
    if code < 0:
        return f"ends Python by {signal.Signals(-code).name}"
    last = errors.strip().splitlines()[-1:] or ["no word"]
    return f"ends Python with exit code {code}: {last[0]}"


def tell(modules: Sequence[str]) -> None:
    """Write the facts of modules to standard output; what `ask` runs."""
    for module in modules:
        try:
            imported = import_module(module)
            facts = {"version": str(getattr(imported, "__version__", ""))}
            facts |= _FACTS[module](imported) if module in _FACTS else {}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is the finding
            facts = {"error": in_a_line(error)}
        sys.stdout.write(f"\n{_MARK}{json.dumps([module, facts])}\n")
        sys.stdout.flush()


def in_a_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _attempt(action: Callable[[], object]) -> str:
    """The error of an action, "" for none."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - as above
        return in_a_line(error)
    return ""


def _torch_facts(torch: ModuleType) -> Facts:
    facts: Facts = {
        "cuda_build": torch.version.cuda,
        "hip_build": getattr(torch.version, "hip", None),
        "from_numpy": _attempt(lambda: torch.from_numpy(import_module("numpy").zeros(1))),
        "on_cpu": _attempt(lambda: _convolve(torch, "cpu")),
        "gpus": [],
    }
    if facts["cuda_build"] or facts["hip_build"]:
        facts["gpu_error"] = _attempt(torch.cuda.init)
        if not facts["gpu_error"]:
            facts["archs"] = torch.cuda.get_arch_list()
            facts["gpus"] = [_gpu(torch, i) for i in range(torch.cuda.device_count())]
    return facts


def _gpu(torch: ModuleType, index: int) -> Facts:
    found = torch.cuda.get_device_properties(index)
    gpu = {"name": found.name, "capability": [found.major, found.minor], "free": 0, "total": 0}
    gpu["error"] = _attempt(lambda: _convolve(torch, f"cuda:{index}"))
    if not gpu["error"]:
        gpu["free"], gpu["total"] = torch.cuda.mem_get_info(index)
    return gpu


def _convolve(torch: ModuleType, device: str) -> None:
    x = torch.ones(1, 3, 8, 8, device=device)
    if float(torch.nn.functional.conv2d(x, x).sum()) != 192.0:
        raise ValueError("a convolution of ones gives another sum than 192")


def _detectron2_facts(detectron2: ModuleType) -> Facts:
    compiled = is_installed("detectron2._C")
    return {
        "folder": os.path.dirname(str(detectron2.__file__)),
        "compiled": compiled,
        "compiled_error": _attempt(lambda: import_module("detectron2._C")) if compiled else "",
        "used": _attempt(lambda: import_module("detectron2.engine")),
    }


_FACTS: dict[str, Callable[[ModuleType], Facts]] = {
    "torch": _torch_facts,
    "detectron2": _detectron2_facts,
}
