"""torch, and whether its build fits the GPU and the driver."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from stseg.tools import GOOD, NOTE, WRONG, Observation
from stseg.tools.doctor.importing import Facts
from stseg.utils import is_installed

_DRIVER = Path("/proc/driver/nvidia/version")
_CHOOSE = "https://pytorch.org/get-started/locally/ says how to install the one that fits."
_BF16_SINCE = (8, 0)
_GIB = 2**30


def check_torch(facts: dict[str, Facts]) -> Iterator[Observation]:
    """That torch works on the CPU and with this NumPy."""
    if not is_installed("torch"):
        yield Observation(WRONG, "torch", "not installed", "pip install torch torchvision")
        return
    torch = facts["torch"]
    if "error" in torch:
        yield Observation(
            WRONG, "torch", f"cannot be imported: {torch['error']}",
            f"pip install --force-reinstall torch torchvision. {_CHOOSE}",
        )  # fmt: skip
        return
    build = torch["cuda_build"] or torch["hip_build"]
    kind = f"built for CUDA {build}" if torch["cuda_build"] else f"built for ROCm {build}"
    yield Observation(GOOD, "torch", f"{torch['version']}, {kind if build else 'CPU build'}")
    if torch["from_numpy"]:
        yield Observation(
            WRONG, "torch", f"does not work with this NumPy: {torch['from_numpy']}",
            "A torch before 2.3 needs NumPy 1: pip install 'numpy<2', or a newer torch.",
        )  # fmt: skip
    if torch["on_cpu"]:
        yield Observation(
            WRONG, "torch", f"does not compute on the CPU: {torch['on_cpu']}",
            f"pip install --force-reinstall torch. {_CHOOSE}",
        )  # fmt: skip


def check_gpu(facts: dict[str, Facts]) -> Iterator[Observation]:
    """Every GPU that torch sees, or why it sees none."""
    torch = facts.get("torch", {"error": "not installed"})
    if "error" in torch:
        yield Observation(NOTE, "gpu", "not looked at, as torch is not usable")
        return
    if not torch["gpus"]:
        yield no_gpu(torch, _DRIVER.is_file(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        return
    for index, gpu in enumerate(torch["gpus"]):
        yield _judge(f"gpu {index}", gpu, torch)


def no_gpu(torch: Facts, has_driver: bool, visible: str | None) -> Observation:
    """Why there is none.

    Args:
        torch: its facts.
        has_driver: NVIDIA's is loaded.
        visible: $CUDA_VISIBLE_DEVICES.
    """
    if not torch["cuda_build"] and not torch["hip_build"]:
        if has_driver:
            text = "NVIDIA's driver is there, but torch is a CPU build, so the CPU is used"
            return Observation(NOTE, "gpu", text, _CHOOSE)
        return Observation(GOOD, "gpu", "none; the CPU is used")
    error = torch.get("gpu_error", "")
    if "too old" in error:
        cure = f"Update the driver, or install a torch for an older CUDA. {_CHOOSE}"
        return Observation(WRONG, "gpu", error, cure)
    if visible is not None and visible.strip() in ("", "-1"):
        text = f"none: CUDA_VISIBLE_DEVICES is {visible!r}, so the CPU is used"
        return Observation(NOTE, "gpu", text, "unset CUDA_VISIBLE_DEVICES")
    if has_driver:
        return Observation(
            WRONG, "gpu", f"NVIDIA's driver is there, and torch finds no GPU: {error or 'no word'}",
            "See whether nvidia-smi lists it; in a container start that with --gpus all.",
        )  # fmt: skip
    return Observation(GOOD, "gpu", "none; the CPU is used")


def _judge(subject: str, gpu: Facts, torch: Facts) -> Observation:
    major, minor = gpu["capability"]
    archs = torch.get("archs", [])
    text = f"{gpu['name']}, compute capability {major}.{minor}"
    if torch["cuda_build"] and archs and not runs_on((major, minor), archs):
        return Observation(
            WRONG, subject, f"{text}; torch has code for {', '.join(archs)} only ('no kernel "
            "image')", f"Install a torch with sm_{major}{minor}. {_CHOOSE}",
        )  # fmt: skip
    if gpu["error"]:
        cure = "See whether nvidia-smi shows other programs on it; then reinstall torch. " + _CHOOSE
        return Observation(WRONG, subject, f"{text}; a convolution fails: {gpu['error']}", cure)
    free, total = gpu["free"] / _GIB, gpu["total"] / _GIB
    bf16 = "bf16" if not torch["cuda_build"] or (major, minor) >= _BF16_SINCE else "no bf16"
    return Observation(GOOD, subject, f"{text}, {free:.1f} of {total:.1f} GiB free, {bf16}")


def runs_on(capability: tuple[int, int], archs: Sequence[str]) -> bool:
    """Whether a build has code for a GPU.

    Machine code ("sm_86") runs on GPUs of its major version from its minor on, PTX ("compute_80")
    on every later one. Code with a letter ("sm_90a") is for that very capability.

    Args:
        capability: major and minor.
        archs: what `torch.cuda.get_arch_list` gives.
    """
    for arch in archs:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", arch)
        if not found:
            continue
        kind, own, letter = found[1], (int(found[2]), int(found[3])), found[4]
        if own == capability or (kind == "compute" and not letter and own <= capability):
            return True
        if kind == "sm" and not letter and own[0] == capability[0] and own[1] <= capability[1]:
            return True
    return False
