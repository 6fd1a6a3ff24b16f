"""What a person sees of a run: log.txt keeps everything, the screen what helps while one waits.

Of this project's loggers INFO is for the screen and DEBUG for log.txt alone; of Detectron2's and
fvcore's, which say at INFO all that they do, the screen has progress. Warnings are always shown,
and handlers that are not of `setup_logger` are left alone.
"""

import logging
import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from tabulate import tabulate

from stseg.utils import some_of

logger = logging.getLogger(__name__)

_ROOTS = ("stseg", "fvcore", "detectron2")
_PAUSE = 60  # seconds between two lines of an evaluation's progress
#: What a run writes for people, in the order of their interest.
_WRITTEN = {
    "weights": ("model_final.pth", "model_best.pth"),
    "results": ("results.json", "inference/*/sem_seg_result.json"),
    "pages": ("self_training/*.html", "self_training/preview/*.html"),
    "curves": ("metrics.json", "events.out.tfevents.*"),
    "parameters": ("parameters.txt",),
    "config": ("config.yaml", "config_eval.yaml"),
    "log": ("log.txt",),
}


def set_up_logs(folder: str, rank: int, verbose: bool = False) -> None:
    """Loggers of this project, Detectron2 and fvcore: to ``log.txt``, and on rank 0 to the screen.

    Other ranks keep Python's warnings there, too.

    Args:
        folder: OUTPUT_DIR.
        rank: of this process.
        verbose: the screen shows what log.txt keeps.
    """
    from detectron2.utils.logger import setup_logger

    for root in _ROOTS:
        before = list(logging.getLogger(root).handlers)
        # Called as `default_setup` calls it, or that would add a second pair of handlers.
        named = {} if root == "detectron2" else {"name": root}
        for handler in setup_logger(folder, distributed_rank=rank, **named).handlers:
            is_screen = getattr(handler, "stream", None) is sys.stdout
            if is_screen and handler not in before and not verbose:
                handler.addFilter(_ForPeople())
    if rank > 0:  # a process of our own, whose warnings the first one has as well
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").handlers = logging.getLogger("stseg").handlers


class _ForPeople(logging.Filter):
    """Passes what is for the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._last = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return True
        root, _, name = record.name.partition(".")  # Detectron2's formatter shortens the root
        if root == "stseg":
            return record.levelno >= logging.INFO
        if name == "evaluation.evaluator" and record.getMessage().startswith("Inference done"):
            is_due = record.created >= self._last + _PAUSE
            self._last = record.created if is_due else self._last
            return is_due
        return name == "utils.events"  # losses, rate, time and what is left


def tell(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Log rows of a name and what there is to say, without those that say nothing."""
    table = tabulate([row for row in rows if row[1]], tablefmt="plain", disable_numparse=True)
    logger.info("%s\n%s", title, table)


def tell_written(folder: str, since: float) -> None:
    """Log where the files are that a run has written.

    Args:
        folder: OUTPUT_DIR.
        since: `time.time()` at the start; older files are another run's, but for config and log.
    """
    root, rows = Path(folder), []
    for kind, patterns in _WRITTEN.items():
        paths = [path for pattern in patterns for path in sorted(root.glob(pattern))]
        if kind not in ("config", "log"):
            paths = [path for path in paths if path.stat().st_mtime >= since - 1]  # coarse clocks
        rows.append((kind, some_of([path.relative_to(root).as_posix() for path in paths])))
    tell(f"Written to {folder} in {timedelta(seconds=int(time.time() - since))}:", rows)
