"""Memory, processors and disks, as far as this process may use them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stseg.tools import GOOD, NOTE, WRONG, Observation
from stseg.utils import cache_folder

_GIB = 2**30
_MEMORY = 4.0  # GiB; a full-size model predicts on a CPU with it
_DISK = 5.0  # GiB; a few checkpoints
_SHARED = 1.0  # GiB; 64 MB, as containers have it, end data loaders with "Bus error"


def check_memory(root: Path = Path("/")) -> Iterator[Observation]:
    """RAM and swap, and the limit of the control group.

    Args:
        root: below which "proc" and "sys" lie.
    """
    info = dict(re.findall(r"^(\w+): +(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE))
    if "MemAvailable" not in info:
        yield Observation(NOTE, "memory", "this system does not say how much is free")
        return
    free, total, swap = (int(info[k]) / 2**20 for k in ("MemAvailable", "MemTotal", "SwapFree"))
    text = f"{free:.1f} of {total:.1f} GiB RAM free, {swap:.1f} GiB swap"
    limit, used = _memory_limit(root)
    if limit < total:
        free = min(free, limit - used)
        text += f"; the control group allows {limit:.1f} GiB, of which {used:.1f} are used"
    if free < _MEMORY:
        cure = (
            f"The miniature runs; a full-size model wants {_MEMORY:.0f} GiB. Close other programs, "
            "or raise the container's limit."
        )
        yield Observation(NOTE, "memory", text, cure)
    else:
        yield Observation(GOOD, "memory", text)


def _memory_limit(root: Path) -> tuple[float, float]:
    """Limit and use of the control group, version 2 or 1, in GiB; infinity for no limit."""
    group = root / "sys/fs/cgroup"
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        value, now = _read(group / limit).strip(), _read(group / used).strip()
        if value.isdigit():
            return int(value) / _GIB, int(now) / _GIB if now.isdigit() else 0.0
    return float("inf"), 0.0


def check_processors(root: Path = Path("/")) -> Iterator[Observation]:
    """Cores, and the share of them that the control group grants."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    quota, threads = _quota(root), os.environ.get("OMP_NUM_THREADS", "")
    text = f"{cores} cores" + (f", OMP_NUM_THREADS={threads}" if threads else "")
    started = int(threads) if threads.isdigit() else cores
    if quota < cores:
        text += f"; the control group grants the time of {quota:.1f}"
    if started > max(1.0, min(quota, cores)):
        cure = f"export OMP_NUM_THREADS={max(1, int(min(quota, cores)))}"
        yield Observation(NOTE, "processors", f"{text}: {started} threads wait for turns", cure)
    else:
        yield Observation(GOOD, "processors", text)


def _quota(root: Path) -> float:
    """Processors whose time the control group grants; infinity for all."""
    group = root / "sys/fs/cgroup"
    now = _read(group / "cpu.max").split()
    if not now:
        names = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
        now = [_read(group / name).strip() for name in names]
    if len(now) == 2 and all(part.isdigit() for part in now) and int(now[1]):
        return int(now[0]) / int(now[1])
    return float("inf")


def check_disk() -> Iterator[Observation]:
    """Room where runs and caches are written, and in shared memory."""
    places = {"here, for OUTPUT_DIR": Path.cwd(), "cache": cache_folder("$STSEG_CACHE")}
    for title, folder in places.items():
        there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        free = shutil.disk_usage(there).free / _GIB
        text = f"{free:.1f} GiB free for {folder} ({title})"
        if not _can_write(there):
            cure = "Work in another folder." if folder == Path.cwd() else "Set STSEG_CACHE."
            yield Observation(WRONG, "disk", f"{folder} ({title}) cannot be written", cure)
        elif free < _DISK:
            yield Observation(NOTE, "disk", text, "Checkpoints and caches take gigabytes.")
        else:
            yield Observation(GOOD, "disk", text)
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).total < _SHARED * _GIB:
        size = shutil.disk_usage(shared).total / 2**20
        yield Observation(
            NOTE, "disk", f"shared memory (/dev/shm) has {size:.0f} MiB: loaders of data may end "
            "with 'Bus error'", "docker run --shm-size 8g, or DATALOADER.NUM_WORKERS 0.",
        )  # fmt: skip


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
