"""OUTPUT_DIR of a run: one run at a time, and nothing that an earlier one left is replaced."""

import json
import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from filelock import FileLock, Timeout

from stseg.config import leaves

logger = logging.getLogger(__name__)

#: What a run makes in its folder, but for the preview that a person may have looked at before.
_MADE = (
    "config.yaml",
    "events.out.tfevents.*",
    "inference",
    "last_checkpoint",
    "log.txt*",
    "metrics*.json",
    "model_*",
    "parameters.txt",
    "results.json",
    "self_training/*",
)
_KEPT = ("preview",)
#: Seconds that data workers take to notice that their run is gone, and some.
_PATIENCE = 20
#: Keys that make a run what it is: with another value it is another run.
_IDENTITY = (
    "DATASETS.TRAIN",
    "MODEL.META_ARCHITECTURE",
    "SEED",
    "SELF_TRAINING.ENABLED",
    "SELF_TRAINING.IMAGES",
    "SELF_TRAINING.VOCABULARY",
    "SOLVER.IMS_PER_BATCH",
)
#: Keys that may be others after an interruption, and change nothing that is learnt.
_FREE = (
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TEST_BATCH_SIZE",
    "MODEL.DEVICE",
    "MODEL.TEXT.CACHE_DIR",
    "MODEL.TEXT.CACHE_GIB",
    "MODEL.WEIGHTS",
    "OUTPUT_DIR",
    "SELF_TRAINING.SAM_CACHE_DIR",
    "SELF_TRAINING.SAM_CACHE_GIB",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.LOG_PERIOD",
)


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Keep other runs out of a folder while this process lives; a kill opens it again.

    Raises:
        ValueError: if another run holds it; names its process.
    """
    os.makedirs(folder, exist_ok=True)
    lock, holder = FileLock(os.path.join(folder, ".lock")), Path(folder) / ".run"
    try:
        # The data workers of a killed run hold it for some seconds more.
        lock.acquire(timeout=_PATIENCE if _is_dead(holder) else 0)
    except Timeout:
        raise ValueError(
            f"OUTPUT_DIR: expected a folder that no other run is using, got {folder!r}, where "
            f"{_told(holder)} is at work. Wait for it, or name another folder."
        ) from None
    try:
        started = datetime.now().isoformat(sep=" ", timespec="seconds")
        told = {"process": os.getpid(), "host": socket.gethostname(), "started": started}
        holder.write_text(json.dumps({**told, "command": shlex.join(sys.argv)}), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _read(holder: Path) -> dict[str, Any]:
    try:
        return json.loads(holder.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _is_dead(holder: Path) -> bool:
    """Whether the run that wrote the file was one of this machine's and is no more."""
    told = _read(holder)
    if told.get("host") != socket.gethostname():
        return False
    try:
        os.kill(told["process"], 0)
    except ProcessLookupError:
        return True
    except (OSError, KeyError, TypeError):
        pass
    return False


def _told(holder: Path) -> str:
    told = _read(holder)
    if not told:
        return "another process"
    return "process {process} on {host} (since {started})".format_map(told)


def set_aside(cfg: CfgNode) -> str:
    """Move what an earlier run left in OUTPUT_DIR into a folder in it.

    Returns:
        That folder; "" where no run had come to a checkpoint.

    Raises:
        ValueError: if the new run is to start from a file among them.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if not has_checkpoint(cfg) and not any(folder.glob("model_*.pth")):
        return ""
    made = [p for pattern in _MADE for p in sorted(folder.glob(pattern)) if p.name not in _KEPT]
    for key, name in (
        ("MODEL.WEIGHTS", cfg.MODEL.WEIGHTS),
        ("MODEL.CLIP.PRETRAINED", cfg.MODEL.CLIP.PRETRAINED),
        ("MODEL.SAM.CHECKPOINT", cfg.MODEL.SAM.CHECKPOINT),
        ("SELF_TRAINING.VETO_FILE", cfg.SELF_TRAINING.VETO_FILE),
    ):
        used = Path(name).resolve()
        if name and any(p.resolve() == used or p.resolve() in used.parents for p in made):
            raise ValueError(
                f"OUTPUT_DIR: expected another folder than that of {key} {name!r}, which a new run "
                f"there would move aside, got {str(folder)!r}. Name another, or --resume."
            )
    number = 1
    while (aside := folder / f"previous_{number:02d}").exists():
        number += 1
    for path in made:
        target = aside / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return str(aside)


def latest_aside(cfg: CfgNode) -> str:
    """The folder that `set_aside` made last, "" without one."""
    found = sorted(Path(cfg.OUTPUT_DIR).glob("previous_*"))
    return str(found[-1]) if found else ""


def has_checkpoint(cfg: CfgNode) -> bool:
    """Whether OUTPUT_DIR holds a run to resume."""
    return os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint"))


class RunIdentity:
    """The settings of a run, as a part of its checkpoints: `--resume` takes no other run's."""

    def __init__(self, cfg: CfgNode) -> None:
        """Read the keys."""
        self._values = {key: _plain(value) for key, value in leaves(cfg) if key not in _FREE}

    def state_dict(self) -> dict[str, Any]:
        """Key to value, plain."""
        return self._values

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare with a checkpoint's; what differs and makes no other run of it is told.

        Raises:
            ValueError: names the keys that make it another, with both values.
        """
        differing = {
            key: f"{key} {state_dict[key]!r} there and {value!r} now"
            for key, value in self._values.items()
            if key in state_dict and state_dict[key] != value
        }
        other = [text for key, text in differing.items() if key in _IDENTITY]
        if other:
            raise ValueError(
                f"--resume: expected the run that OUTPUT_DIR holds, got another: "
                f"{'; '.join(other)}. Give the settings it was started with, or another "
                "OUTPUT_DIR."
            )
        if differing:
            logger.warning(
                "--resume: the run goes on with other settings than it had: %s.",
                "; ".join(differing.values()),
            )


def _plain(value: Any) -> Any:
    """Lists, mappings, texts and numbers alone, which a checkpoint may hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
